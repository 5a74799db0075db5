"""Log lines of the service: each says when, and for which request; none holds a secret."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from backupcore.job.trace import current_request
from backupcore.runtime import Clock

__all__ = ["redacted", "service_logging"]

HIDDEN = "…"
_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    # user and password of a URL
    (re.compile(r"(?<=://)[^/\s@'\"]+@"), f"{HIDDEN}@"),
    # values of what is named as a secret, in a query, a header or a document
    (
        re.compile(
            r"(?i)((?:x-auth-token|x-subject-token|authorization|password|secret[\w-]*|token"
            r"|backup_url|signature|sig|access_key|[\w-]*credential)[\"']?\s*[=:]\s*)"
            r"(?:(?:bearer|basic)\s+)?(?:\"[^\"]*\"|'[^']*'|[^\s,;&\"'}]+)"
        ),
        rf"\g<1>{HIDDEN}",
    ),
    # what base64 makes of a JSON object: a record, however it got here
    (re.compile(r"\beyJ[A-Za-z0-9+/_=-]{16,}"), HIDDEN),
)
_OWN = "backupcore"


def redacted(text: str) -> str:
    """Return a text without what looks like a secret."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


class _Clean(logging.Handler):
    """Hands on a line of its own for each record; other handlers see the record as it was."""

    def __init__(self, drains: list[logging.Handler], clock: Clock) -> None:
        super().__init__()
        self._drains = drains
        self._clock = clock

    def emit(self, record: logging.LogRecord) -> None:
        """Add time, request and error, as facts, and take secrets away."""
        line = logging.makeLogRecord({key: _clean(fact) for key, fact in vars(record).items()})
        line.msg, line.args = redacted(record.getMessage()), None
        line.time = self._clock.now().isoformat()
        if "request_id" not in vars(record) and (request_id := current_request()) is not None:
            line.request_id = request_id
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            line.error = f"{type(error).__name__}: {redacted(str(error))}"
            line.trace = redacted("".join(traceback.format_exception(error)))
            line.exc_info = None
        for drain in self._drains:
            drain.handle(line)


def _clean(fact: object) -> object:
    return redacted(fact) if isinstance(fact, str) else fact


def _is_foreign(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] != _OWN


@contextmanager
def service_logging(clock: Clock, *, is_quiet: bool = False) -> Iterator[None]:
    """Log as a service does, through the drains that the command has opened.

    What libraries warn of takes the same way. is_quiet: only what is wrong is told.
    """
    own, root = logging.getLogger(_OWN), logging.getLogger()
    drains, level = list(own.handlers), own.level
    ours, theirs = _Clean(drains, clock), _Clean(drains, clock)
    theirs.addFilter(_is_foreign)
    theirs.setLevel(logging.WARNING)
    own.handlers[:] = [ours]
    root.addHandler(theirs)
    if not is_quiet:
        own.setLevel(min(level or logging.INFO, logging.INFO))
    try:
        yield
    finally:
        root.removeHandler(theirs)
        own.handlers[:] = drains
        own.setLevel(level)
