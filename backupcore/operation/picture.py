"""A picture of a backup: where on its volume data is new, inherited from earlier, or zero.

Exact, and still cheap at any size: the rows of nodes say how much data lies below them and in which
session's pack, so that only what is mixed within one bucket, or lies across two, is opened.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from backupcore.errors import BackupMissing, ManifestDamaged, MapDamaged, Refused, Stopped
from backupcore.model import Backup, Progress, ProgressCallback
from backupcore.operation.report import Reporter
from backupcore.repository import Repository
from backupcore.repository.key import MAP, PACK_REFERENCE_LENGTH, pack_id
from backupcore.repository.manifest import Manifest, Register
from backupcore.repository.map import FAN_OUT, Node, PackRefs, TreeReader
from backupcore.runtime import StopFlag

__all__ = ["BUCKET_COUNT_MAX", "INHERITED", "NEW", "ZERO", "Picture", "depict"]

log = logging.getLogger(__name__)

Counts: TypeAlias = npt.NDArray[np.int64]
Kinds: TypeAlias = npt.NDArray[np.int8]
Rows: TypeAlias = npt.NDArray[np.void]  # ROW[n]

NEW, INHERITED, ZERO = range(3)  # columns of a picture
BUCKET_COUNT_MAX = 1 << 20
_MIXED = 2  # in place of NEW or INHERITED: only what lies below can tell
_UNITS_PER_BUCKET_MIN = 32


@dataclass(frozen=True, slots=True)
class Picture:
    """What one backup's volume is made of.

    offsets: int64[n + 1], where bucket i begins; it ends where the next one does.
    buckets: int64[n, 3], bytes of the volume in each that are new (their chunks lie in packs of the
    session that made this backup), inherited and zero; together less than the bucket is long where
    the volume ends within or before it.
    """

    backup: Backup
    offsets: Counts
    buckets: Counts

    @property
    def totals(self) -> tuple[int, int, int]:
        """Bytes of the whole volume that are new, inherited and zero."""
        new, inherited, zero = self.buckets.sum(axis=0).tolist()
        return new, inherited, zero


def depict(
    repository: Repository,
    backup: str,
    *,
    volume_id: str | None = None,
    bucket_count: int = 1024,
    progress: ProgressCallback | None = None,
    stop: StopFlag | None = None,
) -> tuple[Picture, Picture | None]:
    """Return the picture of a backup, and of the one of the same volume committed before it.

    bucket_count: how many parts the volume is cut into, fewer when it has fewer cells; each is a
    whole number of cells, and they are equally long but for one cell, leaf or node. Both pictures
    have the same buckets, which reach to the end of the longer volume.
    Raises: BackupMissing, Refused, Damaged, StoreError, Stopped.
    """
    if not 1 <= bucket_count <= BUCKET_COUNT_MAX:
        raise Refused(f"{bucket_count} buckets: a picture has 1 to {BUCKET_COUNT_MAX}")
    found = _subject(repository.registers.state(repository.history(backup, volume_id)))
    if found is None:
        raise BackupMissing(f"backup {backup} was deleted meanwhile")
    before = _before(repository, found)
    subjects = [found, before] if before is not None else [found]
    sizes = [subject.backup.size_bytes for subject in subjects]
    offsets = _bucket_offsets(max(sizes), found.backup.grid.chunk_size_bytes, bucket_count)
    course = _Course(repository, sum(sizes), progress, stop or repository.runtime.never)
    pictures: list[Picture] = []
    for subject, size_bytes in zip(subjects, sizes, strict=True):
        drawing = _Drawing(repository.tree(subject.manifest), subject, offsets, course)
        try:
            pictures.append(Picture(subject.backup, offsets, drawing.draw()))
        except MapDamaged as error:
            if subject is found:
                raise
            facts = {"backup": subject.backup.id, "reason": str(error)}
            log.warning("the backup before cannot be drawn: its map is damaged", extra=facts)
        course.begin_bytes += size_bytes
    course.reporter.tell()
    return pictures[0], pictures[1] if len(pictures) > 1 else None


@dataclass(frozen=True, slots=True)
class _Subject:
    """A backup: the map to walk, and the session whose packs hold what is new in it."""

    session: bytes
    volume_tag: str
    manifest: Manifest

    @property
    def backup(self) -> Backup:
        return self.manifest.backup


def _subject(register: Register | None) -> _Subject | None:
    """Return what a register makes real, None when that is no backup."""
    if register is None or register.manifest is None:
        return None
    decision = register.decision
    session = bytes.fromhex(decision.session_id)
    return _Subject(session, decision.name.volume_tag, register.manifest)


def _before(repository: Repository, subject: _Subject) -> _Subject | None:
    """Return the backup of the same volume that was committed last before one."""
    latest: _Subject | None = None
    for history in repository.registers.histories(subject.volume_tag):
        try:
            found = _subject(repository.registers.state(history))
        except ManifestDamaged as error:
            log.warning("backup left out", extra={"reason": str(error)})
            continue
        if found is None or found.backup.committed_at >= subject.backup.committed_at:
            continue
        if latest is None or found.backup.committed_at > latest.backup.committed_at:
            latest = found
    return latest


def _bucket_offsets(size_bytes: int, chunk_size_bytes: int, bucket_count: int) -> Counts:
    """Return int64[n + 1]: where each bucket begins, and the end of the last.

    Large buckets begin where leaves or nodes do, so that few of these lie across two.
    """
    unit = chunk_size_bytes
    while unit * FAN_OUT * _UNITS_PER_BUCKET_MIN * bucket_count <= size_bytes:
        unit *= FAN_OUT
    unit_count = -(-size_bytes // unit)
    count = min(bucket_count, unit_count)
    starts = [number * unit_count // count * unit for number in range(count)]
    return np.array([*starts, size_bytes], np.int64)


class _Course:
    """How far the drawing of all pictures is; hears the stop flag."""

    def __init__(
        self,
        repository: Repository,
        total_bytes: int,
        progress: ProgressCallback | None,
        stop: StopFlag,
    ) -> None:
        self.begin_bytes = 0
        self._at_bytes = 0
        self._stop = stop
        self.reporter = Reporter(
            progress,
            repository.runtime.clock,
            lambda: Progress(self.begin_bytes + self._at_bytes, total_bytes),
        )

    def reach(self, offset: int) -> None:
        """Say which byte of the volume is looked at. Raises: Stopped."""
        if self._stop.is_set():
            raise Stopped("stopped before the picture was whole")
        self._at_bytes = offset
        self.reporter.tick()


class _Drawing:
    """One walk through a map; owned by one thread."""

    def __init__(
        self, tree: TreeReader, subject: _Subject, offsets: Counts, course: _Course
    ) -> None:
        self._tree = tree
        self._session = np.frombuffer(subject.session, np.uint8)
        self._size_bytes = subject.backup.size_bytes
        self._chunk = subject.backup.grid.chunk_size_bytes
        self._offsets = offsets
        self._course = course
        self._buckets = np.zeros((len(offsets) - 1, 3), np.int64)

    def draw(self) -> Counts:
        """Return int64[n, 3]: new, inherited and zero bytes. Raises: MapDamaged, Stopped."""
        level = self._tree.level
        row = np.array([self._tree.row(level, 0)])
        self._rows(level, 0, row, _kinds_of_rows(row, self._session))
        inside = np.minimum(self._offsets, self._size_bytes)
        self._buckets[:, ZERO] = np.diff(inside) - self._buckets.sum(axis=1)
        return self._buckets

    def _rows(self, level: int, first: int, rows: Rows, kinds: Kinds) -> None:
        """Pour what neighbouring rows say, and go below those that do not say enough."""
        span = self._chunk * FAN_OUT ** (level + 1)
        used = np.flatnonzero(rows["stored_length"])
        rows, kinds = rows[used], kinds[used]
        edges = [
            (min(index * span, self._size_bytes), min((index + 1) * span, self._size_bytes))
            for index in (used + first).tolist()
        ]
        starts, ends = np.array(edges, np.int64).reshape(-1, 2).T
        lengths = rows["logical_bytes"].astype(np.int64)
        _check_fits(rows, lengths, ends - starts)
        is_in_one = np.searchsorted(self._offsets, starts, "right") == np.searchsorted(
            self._offsets, ends, "left"
        )
        is_told = (kinds != _MIXED) & (is_in_one | (lengths == ends - starts))
        for kind in (NEW, INHERITED):
            chosen = is_told & (kinds == kind)
            self._pour(starts[chosen], lengths[chosen], kind)
        for at in np.flatnonzero(~is_told).tolist():
            self._course.reach(int(starts[at]))
            self._below(level, first + int(used[at]))

    def _below(self, level: int, index: int) -> None:
        """Open a leaf or node."""
        if level:
            node = self._tree.node(level, index)
            self._rows(level - 1, index * FAN_OUT, node.rows, _kinds_of(node, self._session))
            return
        leaf = self._tree.leaf(index)
        if leaf is None:
            return
        starts = (np.flatnonzero(leaf.present) + leaf.first_cell) * self._chunk
        lengths = leaf.lengths()
        is_new = _is_of(leaf.places["pack"], self._session)[leaf.frame]
        self._pour(starts[is_new], lengths[is_new], NEW)
        self._pour(starts[~is_new], lengths[~is_new], INHERITED)

    def _pour(self, starts: Counts, lengths: Counts, kind: int) -> None:
        """Add ascending, disjoint extents of data to the buckets that they lie in.

        Data of a subtree within one bucket counts as if it lay at the subtree's beginning.
        """
        if not len(starts):
            return
        end = starts[-1] + lengths[-1]
        first = int(np.searchsorted(self._offsets, starts[0], "right")) - 1
        last = int(np.searchsorted(self._offsets, end, "left"))
        edges = self._offsets[first : last + 1]
        before = np.concatenate(([0], np.cumsum(lengths)))
        at = np.searchsorted(starts, edges, "left")
        latest = np.maximum(at - 1, 0)
        beyond = np.maximum(starts[latest] + lengths[latest] - edges, 0)
        below = before[at] - np.where(at > 0, beyond, 0)
        self._buckets[first:last, kind] += np.diff(below)


def _check_fits(rows: Rows, lengths: Counts, spans: Counts) -> None:
    """Raise MapDamaged when a row counts more data than there is room below it."""
    wrong = (lengths > spans) | (lengths < 0) | (spans == 0)
    if wrong.any():
        row = rows[wrong][0]
        key = pack_id(MAP, bytes(row["pack"]))
        raise MapDamaged(
            f"{key}: what lies at {int(row['offset'])} holds more than there is room for in the "
            "volume: run verify",
            key=key,
        )


def _is_of(packs: PackRefs, session: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return bool[n]: which pack references name a session."""
    octets = np.ascontiguousarray(packs).view(np.uint8).reshape(-1, PACK_REFERENCE_LENGTH)
    same: npt.NDArray[np.bool_] = (octets[:, : len(session)] == session).all(axis=1)
    return same


def _kinds_of_rows(rows: Rows, session: npt.NDArray[np.uint8]) -> Kinds:
    """Return int8[n]: INHERITED below what an earlier session wrote, which knew no later pack."""
    return np.where(_is_of(rows["pack"], session), _MIXED, INHERITED).astype(np.int8)


def _kinds_of(node: Node, session: npt.NDArray[np.uint8]) -> Kinds:
    """Return int8[1024]: what is known of a node's children without opening them."""
    kinds = _kinds_of_rows(node.rows, session)
    if node.level > 1:
        return kinds
    new = np.concatenate(([0], np.cumsum(_is_of(node.packs, session)[node.child_packs])))
    new_count, count = np.diff(new[node.starts]), np.diff(node.starts)
    is_rewritten = (kinds == _MIXED) & (count > 0)
    kinds[is_rewritten & (new_count == count)] = NEW
    kinds[is_rewritten & (new_count == 0)] = INHERITED
    return kinds
