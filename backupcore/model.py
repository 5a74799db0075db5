"""The vocabulary: identities, sizes and the values that cross floors."""

from __future__ import annotations

from typing import NewType, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview

BackupId = NewType("BackupId", str)
PackId = NewType("PackId", str)
