"""Figures of the service for Prometheus: what jobs and requests did, and what the catalog holds.

What happened is counted since the start; how things are is asked when somebody looks.
"""

from __future__ import annotations

import logging
from collections import Counter as Tally
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from backupcore.catalog import BackupStatus, Listing, Scope
from backupcore.errors import BackupError
from backupcore.service import JobEnd, Observer, Service

__all__ = ["VOLUME_COUNT_MAX", "Metrics"]

log = logging.getLogger(__name__)

VOLUME_COUNT_MAX = 200  # volumes whose last backup is told: each is a time series
BACKUP_COUNT_MAX = 2000  # backups that are looked through for them
REQUEST_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
JOB_BUCKETS_S = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})


class Metrics(Observer):
    """Counts; any thread may tell."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._jobs = Counter(
            "backupcore_jobs",
            "Jobs that ended, by kind, container and result: done, stopped or failed",
            ["kind", "container", "result"],
            registry=self._registry,
        )
        self._errors = Counter(
            "backupcore_job_errors",
            "Jobs that failed, by the class of what went wrong",
            ["kind", "container", "error"],
            registry=self._registry,
        )
        self._job_durations = Histogram(
            "backupcore_job_duration_seconds",
            "How long jobs ran",
            ["kind"],
            buckets=JOB_BUCKETS_S,
            registry=self._registry,
        )
        self._read = self._bytes("read", "taken from volumes by backups")
        self._stored = self._bytes("stored", "put into repositories by backups")
        self._restored = self._bytes("restored", "given to volumes by restores, zeros included")
        self._got = self._bytes("got", "got from repositories by restores")
        self._requests = Counter(
            "backupcore_requests",
            "Requests that were answered, by method, route and code",
            ["method", "route", "code"],
            registry=self._registry,
        )
        self._request_durations = Histogram(
            "backupcore_request_duration_seconds",
            "How long answers took",
            ["method", "route"],
            buckets=REQUEST_BUCKETS_S,
            registry=self._registry,
        )

    def _bytes(self, name: str, text: str) -> Counter:
        return Counter(
            f"backupcore_{name}_bytes", f"Bytes {text}", ["container"], registry=self._registry
        )

    def look_at(self, service: Service) -> None:
        """Tell from now on how things are with a service, too."""
        self._registry.register(_State(service))

    def job_ended(self, end: JobEnd) -> None:
        """Count a job."""
        result = "done" if end.error is None else "stopped" if end.is_stopped else "failed"
        self._jobs.labels(end.kind, end.container, result).inc()
        self._job_durations.labels(end.kind).observe(end.duration_s)
        if result == "failed":
            self._errors.labels(end.kind, end.container, end.error).inc()

    def backed_up(self, container: str, *, read_bytes: int, stored_bytes: int) -> None:
        """Count what a backup moved."""
        self._read.labels(container).inc(read_bytes)
        self._stored.labels(container).inc(stored_bytes)

    def restored(self, container: str, *, restored_bytes: int, got_bytes: int) -> None:
        """Count what a restore moved."""
        self._restored.labels(container).inc(restored_bytes)
        self._got.labels(container).inc(got_bytes)

    def answered(self, method: str, route: str, code: int, duration_s: float) -> None:
        """Count a request. route: the path's pattern, never the path: there are too many."""
        known = method if method in METHODS else "other"
        self._requests.labels(known, route, code).inc()
        self._request_durations.labels(known, route).observe(duration_s)

    def page(self, accept: str) -> tuple[bytes, str]:
        """Return everything and its content type. accept: the header of who asks."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class _State(Collector):
    """How things are at the moment somebody looks."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the figures; without an answer of the catalog only that it gave none."""
        yield self._jobs()
        is_up = GaugeMetricFamily("backupcore_catalog_up", "Whether the catalog answers")
        try:
            found = [self._backups(), self._last_backups()]
        except BackupError as error:
            log.error("the catalog does not answer", extra={"reason": str(error)})
            found = []
        is_up.add_metric([], 1.0 if found else 0.0)
        yield is_up
        yield from found

    def _jobs(self) -> GaugeMetricFamily:
        labels = ["container", "kind", "status"]
        family = GaugeMetricFamily("backupcore_queue_length", "Jobs at hand", labels=labels)
        views = self._service.engine.jobs()
        tally = Tally((view.order.lane, str(view.order.kind), str(view.status)) for view in views)
        for key, count in sorted(tally.items()):
            family.add_metric(key, count)
        return family

    def _backups(self) -> GaugeMetricFamily:
        family = GaugeMetricFamily("backupcore_backups", "Backups by status", labels=["status"])
        with self._service.catalog.reading() as rows:
            for status in BackupStatus:
                listing = Listing(filters={"status": str(status)}, limit=1, with_count=True)
                page = rows.page_backups(Scope.everything(), listing)
                family.add_metric([str(status)], page.count or 0)
        return family

    def _last_backups(self) -> GaugeMetricFamily:
        family = GaugeMetricFamily(
            "backupcore_volume_last_backup_timestamp_seconds",
            "Of which time the newest available backup of a volume is",
            labels=["project_id", "volume_id"],
        )
        newest = Listing(
            filters={"status": str(BackupStatus.AVAILABLE)},
            sort=[("data_timestamp", "desc")],
            limit=BACKUP_COUNT_MAX,
        )
        with self._service.catalog.reading() as rows:
            found = rows.page_backups(Scope.everything(), newest).rows
        seen: set[tuple[str, str]] = set()
        for row in found:
            key = (row.project_id, row.volume_id)
            if key in seen or row.data_timestamp is None or len(seen) == VOLUME_COUNT_MAX:
                continue
            seen.add(key)
            family.add_metric(key, row.data_timestamp.timestamp())
        return family
