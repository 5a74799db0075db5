"""Telling how far an operation is: bars on a terminal, JSON lines with --json, else nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from backupcore import Progress
from backupcore.cli.talk import Document, Talk, write_error

__all__ = ["showing_progress"]

ProgressCallback = Callable[[Progress], None]


@contextmanager
def showing_progress(
    talk: Talk, phase: str, *, counts: bool = False
) -> Iterator[ProgressCallback | None]:
    """Yield what is to be called with progress, None when nobody wants to hear.

    phase: what is under way, unless the progress names its own. counts: whether `done_bytes`
    and `total_bytes` are numbers of things.
    """
    if talk.is_quiet:
        yield None
    elif talk.is_json:
        yield lambda progress: _write_line(_named(progress, phase), counts=counts)
    elif sys.stderr is not None and sys.stderr.isatty():
        # A command that draws no bar starts faster without.
        from backupcore.cli.bar import drawing_bars  # noqa: PLC0415 - extra `cli`

        with drawing_bars(counts=counts) as draw:
            yield lambda progress: draw(_named(progress, phase))
    else:
        yield None


def _named(progress: Progress, phase: str) -> Progress:
    return progress if progress.phase else replace(progress, phase=phase)


def _write_line(progress: Progress, *, counts: bool) -> None:
    unit = "count" if counts else "bytes"
    line: Document = {
        "phase": progress.phase,
        f"done_{unit}": progress.done_bytes,
        f"total_{unit}": progress.total_bytes,
        "read_bytes": progress.read_bytes,
        "new_bytes": progress.new_bytes,
        "stored_bytes": progress.stored_bytes,
    }
    write_error(json.dumps({"progress": line}))
