"""The layer that changes nothing: what all layers have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from backupcore.driver import Buffer, Driver, ObjectInfo, Role

__all__ = ["Layer"]


class Layer(Driver):
    """Hands every call to the driver below; the other layers change some of them."""

    def __init__(self, below: Driver) -> None:
        self.below = below
        self.capabilities = below.capabilities

    def put(
        self,
        key: str,
        parts: Sequence[Buffer],
        *,
        if_absent: bool = False,
        role: Role = Role.DATA,
    ) -> None:
        """Put below."""
        self.below.put(key, parts, if_absent=if_absent, role=role)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Get from below."""
        return self.below.get(key, offset, length)

    def get_into(self, key: str, offset: int, buffer: Buffer) -> int:
        """Get from below into the caller's buffer."""
        return self.below.get_into(key, offset, buffer)

    def stat(self, key: str) -> ObjectInfo:
        """Ask below."""
        return self.below.stat(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """List below."""
        return self.below.list(prefix)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete below."""
        self.below.delete(keys)

    def close(self) -> None:
        """Close the driver below."""
        self.below.close()
