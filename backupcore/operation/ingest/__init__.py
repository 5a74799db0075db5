"""The way out, from a volume to packs: `plan`, `pipeline` and what its stations do.

`plan` says what is read, `slab` what threads do to it, `station` what becomes of each chunk with
the help of `draft` (a leaf in the making), `claim` (dedup within the run) and `adopt` (what a
resumed session has stored already).
"""
