"""Lists and shows over REST with a million backups: answers a second, and the slow ones.

    python -m benchmarks.service.rest [--rows 1000000] [--url URL] [--seconds 5] [--json OUT]

`backupcore serve` runs as a process of its own, with tokens, over a catalog as
`benchmarks.service.catalog` fills it. This process asks: so many clients, each on one connection,
the next request when the answer to the one before is whole. Asking costs processor time too, here
on the same machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from sqlalchemy import text

from backupcore.catalog import Catalog
from backupcore.catalog.database import Database
from backupcore.runtime import Runtime
from benchmarks.image import work_folder
from benchmarks.measure import print_table, write_json
from benchmarks.service.catalog import FIRST_US, LARGE, SPAN_US, Sample, fill, sample_of

__all__ = ["main"]

CLIENTS = (1, 4, 16)
START_S_MAX = 120.0
ANSWER_S_MAX = 60.0
CONFIG = """
data_folder = "{folder}/data"
catalog.url = "{url}"
api.listen = "127.0.0.1:0"
api.auth = {{ kind = "tokens", file = "{folder}/tokens.toml" }}
containers.volumebackups.url = "posix:{folder}/store"
"""


def make_catalog(url: str, row_count: int) -> Sample:
    """Fill an empty catalog; no row is left in a state that a start would have to settle."""
    runtime = Runtime()
    database = Database(url, runtime)
    with Catalog(database, runtime, {}) as catalog:
        catalog.upgrade()
        with database.writing() as connection:
            fill(connection, row_count)
            connection.execute(
                text("UPDATE backups SET status = 'error' WHERE status <> 'available'")
            )
        with database.reading() as connection:
            return sample_of(connection, row_count)


def questions(sample: Sample) -> dict[str, str]:
    """Return the paths that are asked for, by what they are."""
    day = f"nightly-{(FIRST_US + SPAN_US // 2) // 86_400_000_000}"

    def detail(**words: object) -> str:
        return f"backups/detail?{urlencode({'limit': 100, **words})}"

    return {
        "show": f"backups/{sample.deep_id}",
        "list, 100 rows": "backups?limit=100",
        "detail, 100 rows": detail(),
        "detail, 1000 rows": detail(limit=1000),
        "detail, marker in the middle": detail(marker=sample.deep_id),
        "detail, status=error": detail(status="error"),
        "detail, name": detail(name=day),
        "detail, volume_id": detail(volume_id=sample.volume_id),
        "detail, with_count": detail(with_count="true"),
        "detail, all projects": detail(all_tenants=1),
    }


def _backupcore(*words: str) -> list[str]:
    return [sys.executable, "-m", "backupcore.cli", *words]


@contextmanager
def serving(folder: Path, url: str) -> Iterator[tuple[str, str]]:
    """Run a service until the block ends; yields its host and port, and a token of an admin."""
    config = folder / "backupcore.toml"
    config.write_text(CONFIG.format(folder=folder, url=url))
    words = ("--user", "bench", "--project", LARGE, "--role", "admin", "-q")
    tokens = str(folder / "tokens.toml")
    made = subprocess.run(
        _backupcore("token", "add", "--file", tokens, *words),
        check=True, capture_output=True, text=True, timeout=START_S_MAX,
    )  # fmt: skip
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            _backupcore("serve", "--config", str(config), "--json"), stdout=output, stderr=output
        )
    try:
        yield _address(process, log), made.stdout.strip()
    finally:
        process.terminate()
        process.wait(START_S_MAX)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    end_s = time.monotonic() + START_S_MAX
    while time.monotonic() < end_s and process.poll() is None:
        for line in log.read_text().splitlines():
            if line.startswith('{"serving"'):
                return urlsplit(str(json.loads(line)["serving"])).netloc
        time.sleep(0.05)
    raise SystemExit(f"the service did not start: {log.read_text()}")


def ask(address: str, token: str, path: str, until_s: float) -> list[float]:
    """Ask again and again until a moment of the clock; return the seconds of each answer."""
    connection = HTTPConnection(address, timeout=ANSWER_S_MAX)
    headers = {"X-Auth-Token": token, "OpenStack-API-Version": "volume 3.64"}
    durations: list[float] = []
    while (begin_s := time.perf_counter()) < until_s:
        connection.request("GET", f"/v3/{LARGE}/{path}", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        durations.append(time.perf_counter() - begin_s)
        if answer.status != 200 or not body.startswith(b'{"backup'):
            raise SystemExit(f"{path}: {answer.status} {body[:200]!r}")
    connection.close()
    return durations


def measure(address: str, token: str, path: str, clients: int, duration_s: float) -> dict[str, Any]:
    """Return the rate and the milliseconds of answers to so many clients at once."""
    ask(address, token, path, time.perf_counter() + duration_s / 10)
    begin_s = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        asked = [
            pool.submit(ask, address, token, path, begin_s + duration_s) for _ in range(clients)
        ]
        answers_s = sorted(seconds for one in asked for seconds in one.result())
    cuts = statistics.quantiles(answers_s, n=100, method="inclusive")
    return {
        "clients": clients,
        "answers": len(answers_s),
        "answers_per_s": len(answers_s) / (time.perf_counter() - begin_s),
        "median_ms": cuts[49] * 1000,
        "p99_ms": cuts[98] * 1000,
    }


def run(folder: Path, url: str, row_count: int, duration_s: float) -> dict[str, Any]:
    """Fill, serve and ask; return everything that was found."""
    sample = make_catalog(url, row_count)
    with serving(folder, url) as (address, token):
        return {
            "rows": row_count,
            "cases": {
                name: [measure(address, token, path, count, duration_s) for count in CLIENTS]
                for name, path in questions(sample).items()
            },
        }


def show(results: dict[str, Any]) -> None:
    """Print the figures as a table."""
    table = [
        {
            "request": name,
            "clients": str(case["clients"]),
            "answers a second": f"{case['answers_per_s']:.0f}",
            "median": f"{case['median_ms']:.1f} ms",
            "p99": f"{case['p99_ms']:.1f} ms",
        }
        for name, cases in results["cases"].items()
        for case in cases
    ]
    print_table(f"{results['rows']} backups, over REST", table)


def main() -> None:
    """Fill, serve, ask, tell."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.service.rest",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="how many backups (1000000)")
    parser.add_argument("--url", help="of an empty database (a file of SQLite)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement (5)")
    parser.add_argument("--folder", metavar="DIR", help="where files are, and leave no trace")
    parser.add_argument("--json", metavar="OUT", help="also write everything to this file")
    words = parser.parse_args()
    with work_folder(words.folder) as folder:
        url = words.url or f"sqlite:///{folder / 'catalog.db'}"
        results = run(folder, url, words.rows, words.seconds)
    show(results)
    write_json(words.json, results)


if __name__ == "__main__":
    main()
