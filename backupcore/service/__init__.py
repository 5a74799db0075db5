"""The backup service without a door: what projects may ask, who does it, and what survives.

request/   the use cases: check, change rows, order      work/   what jobs do, what a restart finds
settings   the operator's file                           caller, policy   who asks, what they may
store      repositories by container                     providers        volumes by provider
context    what every use case stands on                 error, meaning   words for refusals
audit      who changed what                              observer         who hears what jobs did
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TypeAlias

from backupcore.catalog import Catalog
from backupcore.closing import Closing
from backupcore.errors import Refused
from backupcore.job import Engine, Perform
from backupcore.job.inline import InlineEngine
from backupcore.runtime import Runtime
from backupcore.service.audit import Audit, AuditedBackups, AuditedPolicy, AuditedRecords
from backupcore.service.caller import Caller
from backupcore.service.context import Context
from backupcore.service.error import Denied, Invalid, Missing, NotReady, OverQuota, ServiceError
from backupcore.service.observer import JobEnd, Observer, observed
from backupcore.service.policy import Policy
from backupcore.service.providers import Providers
from backupcore.service.request.backups import Backups, BackupWish, Restoring
from backupcore.service.request.quotas import Quotas
from backupcore.service.request.records import ExportedRecord, Records
from backupcore.service.request.snapshots import Snapshots, SnapshotWish
from backupcore.service.request.target import RestoreWish
from backupcore.service.request.volumes import Volumes, VolumeWish
from backupcore.service.settings import Settings, read_settings
from backupcore.service.store import Stores
from backupcore.service.work import Works
from backupcore.service.work.reconcile import reconcile

__all__ = [
    "BackupWish",
    "Backups",
    "Caller",
    "Denied",
    "ExportedRecord",
    "Invalid",
    "JobEnd",
    "Missing",
    "NotReady",
    "Observer",
    "OverQuota",
    "Policy",
    "Quotas",
    "Records",
    "RestoreWish",
    "Restoring",
    "Service",
    "ServiceError",
    "Settings",
    "SnapshotWish",
    "Snapshots",
    "VolumeWish",
    "Volumes",
    "read_settings",
]

MakeEngine: TypeAlias = Callable[[Perform, Settings, Mapping[str, int]], Engine]


class Service(Closing):
    """Everything a door needs, put together from the settings.

    make_engine: what runs the jobs; threads of this process unless given. observer: hears of them.
    Raises: Refused when a file or folder of the settings cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        runtime: Runtime | None = None,
        make_engine: MakeEngine | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.settings = settings
        self.runtime = runtime or Runtime()
        heard = observer or Observer()
        _make_folder(settings)
        audit_file, policy_file = settings.audit_file, settings.api.auth.policy_file
        self._audit = Audit(settings.path(audit_file) if audit_file else None, self.runtime.clock)
        policy_path = settings.path(policy_file) if policy_file else None
        self.policy = AuditedPolicy(policy_path, self._audit)
        with ExitStack() as opened:
            self.catalog = opened.enter_context(
                Catalog.open(
                    settings.catalog_url,
                    runtime=self.runtime,
                    upgrade=settings.catalog.upgrade,
                    default_limits=_limits(settings),
                )
            )
            # let go of when the jobs and the calls of providers have ended
            self._claim = opened.enter_context(ExitStack())
            self.providers = opened.enter_context(Providers(settings))
            self.stores = Stores(settings, self.runtime)
            self._context = Context(
                settings,
                self.catalog,
                self.stores,
                self.providers,
                self.policy,
                self.runtime,
                heard,
            )
            self._works = Works(self._context)
            lanes = self.stores.lane_limits()
            perform = observed(self._works.perform, heard, self.runtime.clock)
            self.engine = (make_engine or _inline)(perform, settings, lanes)
            opened.enter_context(self.engine)
            self._offer()
            self._opened = opened.pop_all()

    def _offer(self) -> None:
        context, audit = self._context, self._audit
        self.volumes = Volumes(context)
        self.snapshots = Snapshots(context, self.volumes)
        self.quotas = Quotas(context)
        self.backups = AuditedBackups(context, self.volumes, self.engine, audit=audit)
        self.records = AuditedRecords(context, self.backups, self.engine, audit=audit)

    def start(self) -> None:
        """Make what is not there yet and settle what a process before this one left behind.

        Raises: Refused when another service works on the catalog; StoreError.
        """
        self._claim.enter_context(self.catalog.claimed())
        self.stores.prepare()
        self.volumes.adopt()
        reconcile(self._context, self._works.creating, self.engine)

    def close(self) -> None:
        """Stop the jobs and let go of everything; what was under way is settled at the start."""
        self._opened.close()


def _make_folder(settings: Settings) -> None:
    folder = settings.path("")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"data_folder {folder}: cannot be made: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Refused(f"data_folder {folder}: this user may not write there")


def _inline(perform: Perform, settings: Settings, lane_limits: Mapping[str, int]) -> Engine:
    return InlineEngine(perform, thread_count=settings.jobs.threads, lane_limits=lane_limits)


def _limits(settings: Settings) -> dict[str, int]:
    quotas = settings.quotas
    return {name: getattr(quotas, name) for name in quotas.__struct_fields__}
