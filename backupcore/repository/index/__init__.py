"""The dedup index: which chunks the committed backups of a domain hold, and where they lie.

The manifests are the index; this is a cache computed from the maps of those listed. Whatever is
wrong or missing in its folder costs time or space, never a chunk: rows are compared by whole ids,
blocks by checksums, and a pack is referred to only when a map listed now names it and no tomb does.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from backupcore.closing import Closing
from backupcore.errors import Damaged
from backupcore.model import Ids
from backupcore.repository.index.build import RunBuilder
from backupcore.repository.index.cover import Cover, rows_of
from backupcore.repository.index.run import NOTHING, ROW_COUNT_MAX, Run
from backupcore.repository.index.shelf import Shelf
from backupcore.repository.map import TreeReader
from backupcore.repository.pack import PLACE

__all__ = ["DomainIndex", "Found", "Source"]

log = logging.getLogger(__name__)

_GROWTH = 8  # a run is merged with smaller ones once they hold an eighth of what it does
_ASKED = 256  # ids looked up at once
_COPIED = ("offset", "stored_length", "plain_length", "checksum")

Positions = npt.NDArray[np.int64]
Prefixes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Source:
    """A listed backup's map: the digest of its root, and a reader of it when one is needed."""

    root: bytes
    open_tree: Callable[[], TreeReader]


@dataclass(frozen=True, slots=True)
class Found:
    """Where chunks are: hit bool[n]; of hits alone frame int64[h] and slot u1[h].

    places: PLACE[f], the frames that `frame` counts.
    """

    hit: npt.NDArray[np.bool_]
    frame: Positions
    slot: npt.NDArray[np.uint8]
    places: npt.NDArray[np.void]


class DomainIndex(Closing):
    """Finds chunks in the backups of one domain with one chunk size; owned by one thread.

    folder: where it is kept between sessions, None for nowhere. identity: 32 bytes that tell it
    from every other index. condemned: references of data packs that must not be referred to.
    tick: called whenever there is progress.
    """

    def __init__(
        self,
        folder: Path | None,
        identity: bytes,
        *,
        condemned: Set[bytes],
        random_bytes: Callable[[int], bytes],
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        self._own_folder = tempfile.TemporaryDirectory() if folder is None else None
        place = Path(self._own_folder.name, "index") if self._own_folder else folder
        is_kept = self._own_folder is None
        self._shelf = Shelf(place or Path(), identity, random_bytes, is_kept=is_kept)
        self._condemned = condemned
        self._tick = tick
        self._runs: list[Run] = []
        self._known: list[Prefixes] = []
        self._live: set[bytes] = set()
        self._is_damaged = False

    def update(self, sources: Iterable[Source]) -> None:
        """Cover the maps of exactly these backups, all of a domain that a LIST shows.

        The listing is younger than the session's lease and its reading of tombs. It is asked for
        once the runs are open: then what they hold of packs that it does not show is dead. What
        cannot be written is left out, with a warning; what is damaged is made anew.
        """
        self._attempt(self._open_runs)
        wanted = {source.root: source for source in sources}
        if not self._is_damaged:
            self._attempt(lambda: self._cover(wanted))
        if self._is_damaged:
            self._attempt(self._start_anew)
            self._attempt(lambda: self._cover(wanted))
        self._known, self._live = [], set()

    def find(self, ids: Ids) -> Found:
        """Return where chunks are that listed backups hold; uint8[n, 32] are asked for."""
        hit = np.zeros(len(ids), np.bool_)
        frame, slot = np.zeros(len(ids), np.int64), np.zeros(len(ids), np.uint8)
        places = [np.zeros(0, PLACE)]
        count = 0
        for start in range(0, len(ids), _ASKED):
            for run in list(self._runs):
                left = start + np.flatnonzero(~hit[start : start + _ASKED])
                at, rows = self._ask(run, ids[left])
                if len(at):
                    frames, position = _frames(rows, run)
                    hit[left[at]], slot[left[at]] = True, rows["slot"]
                    frame[left[at]] = count + position
                    places.append(frames)
                    count += len(frames)
        return Found(hit, frame[hit], slot[hit], np.concatenate(places))

    def close(self) -> None:
        """Close all files; remove them when they are not to be trusted."""
        for run in self._runs:
            run.close()
        self._runs = []
        if self._is_damaged:
            try:
                self._shelf.clear()
            except OSError as error:
                log.warning("dedup index not removed", extra={"error": str(error)})
        if self._own_folder is not None:
            self._own_folder.cleanup()

    def _ask(self, run: Run, ids: Ids) -> tuple[Positions, npt.NDArray[np.void]]:
        try:
            return run.find(ids)
        except (Damaged, OSError) as error:
            self._distrust(error)
            self._runs.remove(run)
            run.close()
            return NOTHING

    def _attempt(self, step: Callable[[], None]) -> None:
        """Do what may fail because of the folder."""
        try:
            step()
        except Damaged as error:
            self._distrust(error)
        except OSError as error:
            log.warning("dedup index is not complete", extra={"error": str(error)})

    def _distrust(self, error: Exception) -> None:
        log.warning("dedup index is damaged; it is made anew", extra={"reason": str(error)})
        self._is_damaged = True

    def _start_anew(self) -> None:
        """Remove everything there is."""
        for run in self._runs:
            run.close()
        self._runs, self._known, self._live = [], [], set()
        self._shelf.clear()
        self._is_damaged = False
        self._open_runs()

    def _open_runs(self) -> None:
        self._shelf.prepare()
        self._runs = self._shelf.open_runs()

    def _cover(self, wanted: dict[bytes, Source]) -> None:
        """Judge what there is, and add what it lacks. Raises: Damaged, OSError."""
        lacking = [source for source in wanted.values() if not self._is_covered(source)]
        for run in self._runs:
            run.judge(self._is_usable)
            if lacking:
                self._known.append(run.leaves())
        for source in lacking:
            self._add(source)
            self._merge()
        self._merge()
        self._runs.sort(key=lambda run: -run.weight)
        self._shelf.forget_roots(wanted.keys())

    def _is_covered(self, source: Source) -> bool:
        """Learn which packs a map refers to; return whether its chunks are in the runs."""
        told = self._shelf.packs_of(source.root)
        if told is not None:
            self._live.update(told.tolist())
            return True
        cover = Cover(source.open_tree())
        cover.meet_packs()
        self._live |= cover.packs
        self._tick()
        return False

    def _is_usable(self, pack: bytes) -> bool:
        return pack in self._live and pack not in self._condemned

    def _add(self, source: Source) -> None:
        """Put the chunks of a map that are found nowhere yet into a run of their own."""
        cover = Cover(source.open_tree())

        def fill(builder: RunBuilder) -> None:
            for leaf, begins in cover.leaves(self._is_known):
                rows, packs = rows_of(leaf)
                builder.add(rows[~self.find(rows["id"]).hit], packs)
                builder.note_leaves(begins)
                self._tick()

        run = self._shelf.write_run(fill)
        if run is not None:
            run.judge(self._is_usable)
            self._runs.append(run)
            self._known.append(run.leaves())
        if cover.is_whole:
            self._shelf.note_root(source.root, cover.packs)

    def _is_known(self, leaves: Prefixes) -> npt.NDArray[np.bool_]:
        known = np.zeros(len(leaves), np.bool_)
        for some in self._known:
            at = np.searchsorted(some, leaves)
            known[at < len(some)] |= some[at[at < len(some)]] == leaves[at < len(some)]
        return known

    def _merge(self) -> None:
        """Make one run of small ones, and of those whose packs are mostly gone."""
        chosen = self._mergeable()
        if not chosen:
            return

        def fill(builder: RunBuilder) -> None:
            for run in chosen:
                for rows in run.rows():
                    builder.add(rows, run.packs)
                    self._tick()
                builder.note_leaves(run.leaves())

        merged = self._shelf.write_run(fill)
        for run in chosen:
            self._shelf.remove_run(run)
        self._runs = [run for run in self._runs if run not in chosen]
        if merged is not None:
            merged.judge(self._is_usable)
            self._runs.append(merged)

    def _mergeable(self) -> list[Run]:
        """Return the runs to be merged, largest first; none when they are well as they are."""
        chosen: list[Run] = []
        weight = row_count = 0
        for run in sorted(self._runs, key=lambda run: run.weight):
            is_small = not chosen or run.weight <= _GROWTH * weight
            if row_count + run.row_count <= ROW_COUNT_MAX and (is_small or run.is_mostly_dead):
                chosen.append(run)
                weight, row_count = weight + run.weight, row_count + run.row_count
        if len(chosen) == 1 and not chosen[0].is_mostly_dead:
            return []
        return chosen[::-1]


def _frames(rows: npt.NDArray[np.void], run: Run) -> tuple[npt.NDArray[np.void], Positions]:
    """Return PLACE[f], the frames of ROW[n], and int64[n], the position of each row's."""
    keys = rows["pack"].astype(np.uint64) << np.uint64(32) | rows["offset"]
    _, first, position = np.unique(keys, return_index=True, return_inverse=True)
    places = np.zeros(len(first), PLACE)
    places["pack"] = run.packs[rows["pack"][first]]
    for name in _COPIED:
        places[name] = rows[name][first]
    return places, position
