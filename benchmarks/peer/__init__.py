"""Other tools beside ours, in turn, on the same images; `python -m benchmarks.peer`.

`tool` holds the tools, each a small class with the same methods. `workload` makes the images,
`meter` measures one command, `contest` runs the rounds; `result`, `markdown` and `plot` tell of it.
"""
