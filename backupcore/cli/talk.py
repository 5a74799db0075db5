"""How commands speak: results on standard output, everything else on standard error.

With --json a result is one document, and every line of standard error is one: `progress`, `log`
or `error`. Without, a result is text, and a log line says `level: message (fact=value, …)`.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO, TypeAlias

from backupcore.errors import TargetError

__all__ = ["Document", "Talk", "forget", "printable", "table_text", "write_error"]

Document: TypeAlias = dict[str, object]

_WIDE = 10_000  # columns of what is no terminal: a script shall find whole words
_OWN_FACTS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


@dataclass(frozen=True, slots=True)
class Talk:
    """How one command was asked to speak."""

    is_json: bool = False
    is_quiet: bool = False
    verbosity: int = 0

    @classmethod
    def of_arguments(cls, arguments: Sequence[str]) -> Talk:
        """Return how to speak of an error in the arguments themselves, which nobody parsed."""
        options = list(arguments)
        options = options[: options.index("--")] if "--" in options else options
        shorts = [option for option in options if re.fullmatch(r"-[qv]+", option)]
        count = sum(option.count("v") for option in shorts) + options.count("--verbose")
        return cls("--json" in options, verbosity=count)

    def tell(self, document: Document, text: str, *, quiet_text: str = "") -> None:
        """Write a result: as a document, as text, or only what a script asks for."""
        if self.is_json:
            write_result(json.dumps(document, indent=2) + "\n")
        else:
            chosen = quiet_text if self.is_quiet else text
            write_result(chosen + "\n" if chosen else "")

    def tell_aside(self, document: Document, text: str) -> None:
        """Write a result to standard error, because standard output carries a volume."""
        if self.is_json:
            write_error(json.dumps(document))
        elif not self.is_quiet:
            write_error(text)

    @contextmanager
    def logging(self) -> Iterator[None]:
        """Send what the library logs to standard error."""
        logger = logging.getLogger("backupcore")
        drain = _Drain(is_json=self.is_json)
        before = logger.level
        logger.setLevel(self._log_level())
        logger.addHandler(drain)
        try:
            yield
        finally:
            logger.removeHandler(drain)
            logger.setLevel(before)

    def _log_level(self) -> int:
        if self.verbosity:
            return logging.DEBUG if self.verbosity > 1 else logging.INFO
        return logging.ERROR if self.is_quiet else logging.WARNING


class _Drain(logging.Handler):
    """Writes records as lines, facts included."""

    def __init__(self, *, is_json: bool) -> None:
        super().__init__()
        self._is_json = is_json

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        level, message = record.levelname.lower(), record.getMessage()
        facts = {name: value for name, value in vars(record).items() if name not in _OWN_FACTS}
        if self._is_json:
            line = {"log": {"level": level, "message": message, "facts": facts}}
            write_error(json.dumps(line, default=str))
        else:
            shown = ", ".join(f"{name}={value}" for name, value in facts.items())
            write_error(f"{level}: {message}" + (f" ({shown})" if shown else ""))


def write_result(text: str) -> None:
    """Write to standard output; a reader that has gone away is no error.

    Raises: TargetError when standard output takes nothing for another reason.
    """
    if sys.stdout is None or not text:
        return
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        forget(sys.stdout)
    except OSError as error:
        forget(sys.stdout)
        raise TargetError(
            f"standard output: {error.strerror}: the command itself was done"
        ) from error


def write_error(line: str) -> None:
    """Write a line to standard error; no work fails because nobody listens."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(printable(line) + "\n")
        sys.stderr.flush()
    except OSError:
        forget(sys.stderr)


def forget(stream: TextIO) -> None:
    """Let a standard stream lead nowhere, so that what is still buffered cannot fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def printable(text: str) -> str:
    """Return a text without anything that moves the cursor or is no character."""
    return "".join(
        character if character.isprintable() or character == "\n" else _escaped(character)
        for character in text
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def table_text(headings: Sequence[str], rows: Iterable[Sequence[str]], *, right: str = "") -> str:
    """Return rows below headings in columns; without any heading, as names and values.

    right: a letter for each column to be aligned to the right is `r`, anything else is left.
    """
    # Rich costs a third of the time a short command takes, and JSON needs none of it.
    from rich.console import Console  # noqa: PLC0415 - extra `cli`
    from rich.table import Table  # noqa: PLC0415 - extra `cli`
    from rich.text import Text  # noqa: PLC0415 - extra `cli`

    table = Table(box=None, show_header=any(headings), header_style="bold", pad_edge=False)
    for number, heading in enumerate(headings):
        is_right = right[number : number + 1] == "r"
        table.add_column(
            heading, justify="right" if is_right else "left", overflow="fold", no_wrap=number == 0
        )
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if is_terminal else _WIDE
    page = io.StringIO()
    Console(file=page, width=width, force_terminal=is_terminal, highlight=False).print(table)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines())
