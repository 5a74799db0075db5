"""The way back, from packs to chunks: `walk` and `survey` go through maps, `fetch` brings bytes."""
