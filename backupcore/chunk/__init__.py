"""How one chunk is named, compressed, checked and held in memory: `digest`, `frame`, `buffers`."""
