"""`backupcore drivers` and `driver test`: which plugins there are, and what one promises."""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby

import click

from backupcore import Capabilities, Progress, driver_schemes, open_driver
from backupcore.cli.document import capabilities_document, promise_document
from backupcore.cli.exit_code import ExitCode
from backupcore.cli.parameter import speaking
from backupcore.cli.progress import showing_progress
from backupcore.cli.talk import Document, Talk, table_text
from backupcore.driver.registry import DEFAULT_SCHEME, scheme_capabilities
from backupcore.errors import UnknownScheme
from backupcore.plugin import schemes
from backupcore.testing.driver import LIST_COUNT, PROMISES, run_promises
from backupcore.testing.promise import Outcome, PromiseResult
from backupcore.testing.timing import CallTiming, Timed, Timings
from backupcore.units import format_bytes
from backupcore.url import Url
from backupcore.volume import GROUP as VOLUME_GROUP

__all__ = ["driver_group", "drivers_command"]


@click.command("drivers")
@speaking
def drivers_command(talk: Talk) -> None:
    """List the storage drivers and kinds of volumes that are installed."""
    drivers = [_driver_document(scheme, brings) for scheme, brings in driver_schemes().items()]
    volumes: list[Document] = [
        {"scheme": scheme, "distribution": brings}
        for scheme, brings in schemes(VOLUME_GROUP).items()
    ]
    names = [str(entry["scheme"]) for entry in drivers]
    talk.tell(
        {"drivers": drivers, "volumes": volumes},
        "" if talk.is_json or talk.is_quiet else _drivers_text(drivers, volumes),
        quiet_text="\n".join(names),
    )


def _driver_document(scheme: str, distribution: str) -> Document:
    capabilities, reason = None, None
    try:
        capabilities = scheme_capabilities(scheme)
    except UnknownScheme as error:
        reason = str(error)
    return {
        "scheme": scheme,
        "distribution": distribution,
        "capabilities": capabilities_document(capabilities) if capabilities else None,
        "error": reason,
    }


def _drivers_text(drivers: list[Document], volumes: list[Document]) -> str:
    rows = [
        ("driver", f"{entry['scheme']}:", str(entry["distribution"]), _promises_text(entry))
        for entry in drivers
    ]
    rows += [("volume", f"{entry['scheme']}:", str(entry["distribution"]), "") for entry in volumes]
    return table_text(("PLUGIN", "SCHEME", "DISTRIBUTION", "CAPABILITIES"), rows)


def _promises_text(entry: Document) -> str:
    capabilities = entry["capabilities"]
    if not isinstance(capabilities, dict):
        return str(entry["error"] or "known once it is opened")
    facts = Capabilities(**capabilities)
    return ", ".join(
        name if value is True else f"{name}={value}"
        for name, value in asdict(facts).items()
        if value not in (False, None)
    )


@click.group("driver")
def driver_group() -> None:
    """Work with one storage driver."""


@driver_group.command("test")
@click.argument("url", metavar="URL")
@click.option(
    "--list-count",
    type=click.IntRange(1),
    default=LIST_COUNT,
    show_default=True,
    help="Objects in the long listing.",
)
@speaking
def driver_test_command(talk: Talk, url: str, list_count: int) -> None:
    """Try every promise of the driver contract on the store at URL, and time its calls.

    It works below a new random prefix and removes what it stored. The exit code is 5 when a
    promise is broken.
    """
    open_driver(url).close()  # a store that cannot be opened breaks no promise
    results: list[PromiseResult] = []
    timings = Timings()
    with showing_progress(talk, "promises", counts=True) as progress:
        for result in run_promises(lambda: Timed(open_driver(url), timings), list_count=list_count):
            results.append(result)
            if progress is not None:
                progress(Progress(len(results), len(PROMISES)))
    outcomes = [result.outcome for result in results]
    document: Document = {
        "url": str(Url.parse(url, default_scheme=DEFAULT_SCHEME)),
        "kept_count": outcomes.count(Outcome.KEPT),
        "broken_count": outcomes.count(Outcome.BROKEN),
        "not_claimed_count": outcomes.count(Outcome.NOT_CLAIMED),
        "promises": [promise_document(result) for result in results],
        "calls": [asdict(timing) for timing in timings.report()],
    }
    is_shown = not (talk.is_json or talk.is_quiet)
    talk.tell(document, _results_text(results, timings.report()) if is_shown else "")
    if Outcome.BROKEN in outcomes:
        click.get_current_context().exit(ExitCode.STORE)


def _results_text(results: list[PromiseResult], timings: list[CallTiming]) -> str:
    counts = groupby(sorted(result.outcome.value for result in results))
    summary = ", ".join(f"{len(list(found))} {outcome}" for outcome, found in counts)
    broken = [
        f"broken: {_words(result)}\n  what was seen: {result.detail}\n"
        f"  why it matters: {result.why}"
        for result in results
        if result.outcome is Outcome.BROKEN
    ]
    return "\n\n".join([_promises_table(results), _timings_table(timings), *broken, summary])


def _promises_table(results: list[PromiseResult]) -> str:
    rows = [
        (
            _words(result),
            result.outcome.value,
            f"{result.duration_s:.2f} s",
            result.detail or result.why,
        )
        for result in results
    ]
    return table_text(("PROMISE", "OUTCOME", "TOOK", "WHY"), rows, right="llr")


def _timings_table(timings: list[CallTiming]) -> str:
    rows = [
        (
            timing.operation,
            str(timing.call_count),
            _milliseconds(timing.latency_median_s),
            _milliseconds(timing.latency_max_s),
            "" if timing.rate_bytes_s is None else f"{format_bytes(timing.rate_bytes_s)}/s",
        )
        for timing in timings
    ]
    headings = ("CALL", "COUNT", "LATENCY", "SLOWEST", "RATE")
    return table_text(headings, rows, right="lrrrr")


def _words(result: PromiseResult) -> str:
    return result.name.replace("_", " ")


def _milliseconds(duration_s: float | None) -> str:
    return "" if duration_s is None else f"{duration_s * 1000:.2f} ms"
