"""What a backup reads when it is told what changed: those extents, and little else.

Everything else is inherited from the base by reference, unread. Besides what is said to have
changed the plan reads what may not be referred to any more, and some of what lies scattered.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backupcore.extents import (
    Extents,
    cells_of,
    clip_extents,
    extents_of_cells,
    intersect_extents,
    melt_extents,
    single_extent,
)
from backupcore.model import Grid
from backupcore.operation.ingest.plan import Inherited, LeafPlan, cut_slabs, is_lost, plan_window
from backupcore.repository.key import DATA, MAP, PackKind, pack_reference
from backupcore.repository.map import FAN_OUT, Leaf, Row, TreeReader, is_null, unique_packs
from backupcore.repository.session import Session
from backupcore.units import KIB
from backupcore.volume import Volume

__all__ = ["Condemned", "condemned_by", "extents_to_read", "has_lost_node", "plan_changed_leaves"]

Cells = npt.NDArray[np.bool_]

_GET_BYTES = 256 * KIB  # a get costs about as much as so many bytes more
_SCATTERED = 0.5  # of what must be got and decoded, the share that is wanted


@dataclass(frozen=True, slots=True)
class Condemned:
    """References (36 bytes) of data and map packs that must not be referred to anew."""

    data: Set[bytes] = frozenset()
    maps: Set[bytes] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.data or self.maps)


def condemned_by(session: Session) -> Condemned:
    """Return the packs that a session found condemned when it began."""

    def references(kind: PackKind) -> frozenset[bytes]:
        chosen = (
            pack_reference(key) for key in session.condemned if key.startswith(f"{kind.folder}/")
        )
        return frozenset(reference for reference in chosen if reference is not None)

    return Condemned(references(DATA), references(MAP))


def extents_to_read(changed: Extents, base_size_bytes: int, size_bytes: int, chunk: int) -> Extents:
    """Return what must be read: what changed, and where the volume's end moved.

    The cell in which the shorter of the two ends is another chunk now.
    """
    reads = clip_extents(changed, 0, size_bytes)
    if base_size_bytes == size_bytes:
        return reads
    start = min(base_size_bytes, size_bytes) // chunk * chunk
    return melt_extents(np.concatenate((reads, single_extent(start, size_bytes - start))))


def has_lost_node(base: TreeReader) -> bool:
    """Return whether a node above the lowest ones is there and cannot be read."""
    for level in range(base.level, 1, -1):
        for index in range(FAN_OUT ** (base.level - level)):
            if is_null(base.row(level, index)):
                continue
            if not base.node(level, index).rows["stored_length"].any():
                return True
    return False


def plan_changed_leaves(
    volume: Volume,
    base: TreeReader,
    grid: Grid,
    slab_size_bytes: int,
    *,
    reads: Extents,
    condemned: Condemned,
    rewrite_bytes: int,
) -> Iterator[LeafPlan]:
    """Yield, in volume order, the leaves in which something must be read or may not be kept.

    rewrite_bytes: how much of what did not change may be read and stored again, so that the
    chunks of a leaf do not scatter over more and more packs; what is scattered most comes first.
    Costs what changed, whatever the volume's size; more only while packs are condemned.
    """
    chunk, size_bytes = grid.chunk_size_bytes, volume.size_bytes
    quota = _Quota(rewrite_bytes, _count_leaves(reads, chunk * FAN_OUT))
    for window in _windows(reads, chunk * FAN_OUT * FAN_OUT, size_bytes, condemned):
        if is_lost(base, window):
            yield from plan_window(volume, base, grid, slab_size_bytes, window)
            continue
        touched = cells_of(reads, chunk * FAN_OUT, window * FAN_OUT, FAN_OUT)
        touched |= _condemned_leaves(base, window, condemned)
        touched |= _leaves_at_end(base, window, size_bytes // (chunk * FAN_OUT))
        for position in np.flatnonzero(touched).tolist():
            index = window * FAN_OUT + position
            wanted = cells_of(reads, chunk, index * FAN_OUT, FAN_OUT)
            leaf = base.leaf(index)
            rewritten = _choose(leaf, base.row(0, index), wanted, condemned, quota)
            wanted |= rewritten
            wanted[max(0, grid.cell_count(size_bytes) - index * FAN_OUT) :] = True
            spans = extents_of_cells(wanted, chunk, index * FAN_OUT)
            data = _data_extents(volume, clip_extents(spans, 0, size_bytes))
            cells = np.flatnonzero(cells_of(data, chunk, index * FAN_OUT, FAN_OUT) & wanted)
            slabs = cut_slabs(cells + index * FAN_OUT, slab_size_bytes, chunk, size_bytes)
            yield LeafPlan(index, tuple(slabs), Inherited(leaf, ~wanted, rewritten))


class _Quota:
    """Hands out bytes to be rewritten, about as many to every leaf; what one leaves goes on."""

    def __init__(self, size_bytes: int, leaf_count: int) -> None:
        self._left_bytes = size_bytes
        self._leaf_count = leaf_count

    def take(self, size_bytes: npt.NDArray[np.int64]) -> int:
        """Return how many of these amounts, one after the other, a leaf may rewrite."""
        share = self._left_bytes // max(1, self._leaf_count)
        self._leaf_count -= 1
        sums = np.cumsum(size_bytes)
        count = int(np.searchsorted(sums, share, "right"))
        if count:
            self._left_bytes -= int(sums[count - 1])
        return count


def _count_leaves(reads: Extents, leaf_length: int) -> int:
    """Return how many leaves extents touch."""
    first = reads[:, 0] // leaf_length
    last = (reads[:, 0] + reads[:, 1] - 1) // leaf_length
    again = np.concatenate((first[1:] <= last[:-1], [False]))
    return int((last - first + 1).sum()) - int(again.sum())


def _windows(
    reads: Extents, window_length: int, size_bytes: int, condemned: Condemned
) -> Iterator[int]:
    """Yield the numbers of windows that must be looked at, the last one among them."""
    last_window = max(0, size_bytes - 1) // window_length
    if condemned:
        yield from range(last_window + 1)
        return
    done = -1
    for offset, length in reads.tolist():
        last = (offset + length - 1) // window_length
        yield from range(max(done + 1, offset // window_length), last + 1)
        done = max(done, last)
    if done < last_window:
        yield last_window


def _leaves_at_end(base: TreeReader, window: int, last_leaf: int) -> Cells:
    """Return bool[1024]: the leaves of a window that the base has where the volume ends now."""
    found: Cells = base.node(1, window).rows["stored_length"] > 0
    found[: max(0, last_leaf - window * FAN_OUT)] = False
    return found


def _condemned_leaves(base: TreeReader, window: int, condemned: Condemned) -> Cells:
    """Return bool[1024]: the leaves of a window that refer to, or lie in, condemned packs."""
    found = np.zeros(FAN_OUT, np.bool_)
    if not condemned:
        return found
    node = base.node(1, window)
    bad = np.array([pack in condemned.data for pack in node.packs.tolist()], np.bool_)
    owner = np.repeat(np.arange(FAN_OUT), np.diff(node.starts))
    found[owner[bad[node.child_packs]]] = True
    found |= np.array([pack in condemned.maps for pack in node.rows["pack"].tolist()], np.bool_)
    index = window
    for level in range(1, base.level + 1):  # a node that lies in one is written anew when visited
        if bytes(base.row(level, index)["pack"]) in condemned.maps:
            found[np.flatnonzero(node.rows["stored_length"])[:1]] = True
        index //= FAN_OUT
    return found


def _choose(
    leaf: Leaf | None, row: Row, wanted: Cells, condemned: Condemned, quota: _Quota
) -> Cells:
    """Return bool[1024]: the cells to be read though nobody says that they changed."""
    chosen = np.zeros(FAN_OUT, np.bool_)
    if leaf is None:
        chosen[:] = not is_null(row)  # it cannot be read: all of it is read anew
        return chosen & ~wanted
    packs, position = unique_packs(leaf.places["pack"])
    owner = position[leaf.frame]
    bad = np.array([pack in condemned.data for pack in packs.tolist()], np.bool_)
    present = np.flatnonzero(leaf.present)
    chosen[present[bad[owner]]] = True
    kept = ~wanted[present] & ~bad[owner]
    order, lengths = _most_scattered(leaf, owner, kept, len(packs))
    rewritten = order[: quota.take(lengths[order])]
    chosen[present[kept & np.isin(owner, rewritten)]] = True
    return chosen & ~wanted


def _most_scattered(
    leaf: Leaf, owner: npt.NDArray[np.intp], kept: Cells, pack_count: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int64]]:
    """Return the packs whose chunks of a leaf are dear to get, the worst first.

    Second int64[n]: the plain bytes kept from each of all packs.
    """
    lengths = np.zeros(pack_count, np.int64)
    np.add.at(lengths, owner[kept], leaf.lengths()[kept])
    used = np.zeros(len(leaf.places), np.bool_)
    used[leaf.frame[kept]] = True
    frame_owner = np.zeros(len(leaf.places), np.intp)
    frame_owner[leaf.frame] = owner
    needed = np.full(pack_count, _GET_BYTES, np.int64)
    np.add.at(needed, frame_owner[used], leaf.places["plain_length"][used].astype(np.int64))
    share = lengths / needed
    worst = np.flatnonzero((lengths > 0) & (share < _SCATTERED))
    return worst[np.argsort(share[worst], kind="stable")], lengths


def _data_extents(volume: Volume, spans: Extents) -> Extents:
    """Return the parts of extents that the volume does not know to be zeros."""
    if not len(spans):
        return spans
    start, end = int(spans[0, 0]), int(spans[-1].sum())
    return intersect_extents(volume.extents(start, end - start), spans)
