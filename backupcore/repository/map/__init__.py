"""Maps: where every chunk of one backup lies, as a tree of leaves and nodes.

A leaf holds 1024 cells and refers to nothing but data packs; a node holds 1024 children. Both are
immutable; a new map is written beside its base and shares with it whatever did not change.
"""

from __future__ import annotations

from backupcore.repository.map.leaf import Leaf
from backupcore.repository.map.node import Node
from backupcore.repository.map.reader import TreeReader
from backupcore.repository.map.table import (
    FAN_OUT,
    ROW,
    PackRefs,
    Root,
    Row,
    is_null,
    null_row,
    null_rows,
    pack_refs,
    tree_level,
    unique_packs,
)
from backupcore.repository.map.writer import TreeWriter

__all__ = [
    "FAN_OUT",
    "ROW",
    "Leaf",
    "Node",
    "PackRefs",
    "Root",
    "Row",
    "TreeReader",
    "TreeWriter",
    "is_null",
    "null_row",
    "null_rows",
    "pack_refs",
    "tree_level",
    "unique_packs",
]
