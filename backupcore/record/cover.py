"""The cover of a record: its fields outside of `driver_info`, in the shape Cinder's clients know.

Nobody signs them. `id`, name, description, metadata, snapshot_id, data_timestamp and created_at are
wishes of whoever imports; the others are shown and never trusted. What Cinder's records say beyond
that (temporary volumes, keys, parents, owners, hosts) is written empty and never read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from backupcore.model import SIZE_BYTES_MAX, Backup
from backupcore.record.claim import UUID
from backupcore.record.error import Reason, RecordRefused
from backupcore.record.parser import refuse
from backupcore.repository.label import ServiceLabels
from backupcore.units import GIB

__all__ = ["Cover", "Wishes", "check_service_name", "service_name"]

TEXT_LENGTH_MAX = 255
SERVICE_PREFIX = "cinder.backup.drivers.backupcore."
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,63}")
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_TIME_FORM = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_UNUSABLE = re.compile("[\0\ud800-\udfff]")  # no database takes the first, no UTF-8 the others
_NUMBERS = range(SIZE_BYTES_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the importer's row shall say; what is None as the stored backup does, or nothing.

    id: a UUID. container: what clients are shown.
    """

    id: str | None = None
    name: str | None = None
    description: str | None = None
    metadata: Mapping[str, str] | None = None
    container: str | None = None
    snapshot_id: str | None = None
    data_timestamp: datetime | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Cover:
    """What stands around a claim. size: GiB, rounded up. Times are whole seconds in UTC."""

    id: str
    size: int
    name: str | None = None
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    container: str | None = None
    service: str | None = None
    volume_id: str | None = None
    snapshot_id: str | None = None
    object_count: int | None = None
    data_timestamp: datetime | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @classmethod
    def of(cls, backup: Backup, *, service: str, wishes: Wishes) -> Cover:
        """Return the cover of a stored backup.

        Texts are cut at 255 characters. A volume's or snapshot's id that is no UUID is left out:
        clients expect one, and the path of a device is nobody's business.
        """
        name = backup.name if wishes.name is None else wishes.name
        description = backup.description if wishes.description is None else wishes.description
        metadata = wishes.metadata
        if metadata is None:
            metadata = ServiceLabels.read(backup.labels).metadata
        return cls(
            id=wishes.id or backup.id,
            size=-(-backup.size_bytes // GIB),
            name=_clean(name) or None,
            description=_clean(description) or None,
            metadata={_clean(key): _clean(text) for key, text in metadata.items()},
            container=_clean(wishes.container) if wishes.container else None,
            service=service,
            volume_id=_uuid(backup.volume_id),
            snapshot_id=_uuid(wishes.snapshot_id),
            object_count=backup.sums.object_count,
            data_timestamp=_whole_seconds(wishes.data_timestamp or backup.started_at),
            created_at=_whole_seconds(wishes.created_at or backup.started_at),
            updated_at=_whole_seconds(backup.committed_at),
        )

    def shortened(self) -> Iterator[Cover]:
        """Yield this cover, then with one thing less each time that a record can do without."""
        yield self
        yield replace(self, metadata={})
        yield replace(self, metadata={}, description=None)
        yield replace(self, metadata={}, description=None, container=None)

    def fields(self, backup_id: str) -> dict[str, object]:
        """Return the fields as Cinder orders them.

        backup_id: of the stored backup. `service_metadata` tells it in a form that begins no
        object's name: elsewhere that field is a prefix of what is deleted.
        """
        return {
            "id": self.id,
            "user_id": None,
            "project_id": None,
            "volume_id": self.volume_id,
            "host": None,
            "availability_zone": None,
            "container": self.container,
            "parent_id": None,
            "status": "available",
            "fail_reason": None,
            "size": self.size,
            "display_name": self.name,
            "display_description": self.description,
            "service_metadata": f"backupcore:{backup_id}",
            "service": self.service,
            "object_count": self.object_count,
            "temp_volume_id": None,
            "temp_snapshot_id": None,
            "num_dependent_backups": 0,
            "snapshot_id": self.snapshot_id,
            "data_timestamp": _time_text(self.data_timestamp),
            "restore_volume_id": None,
            "metadata": dict(self.metadata),
            "encryption_key_id": None,
            "created_at": _time_text(self.created_at),
            "updated_at": _time_text(self.updated_at),
            "deleted_at": None,
            "deleted": False,
        }

    @classmethod
    def parse(cls, fields: Mapping[str, object]) -> Cover:
        """Read what stands around a claim; only id and size must. Raises: RecordRefused."""
        row_id, size = _id(fields, "id"), _number(fields, "size")
        if row_id is None:
            refuse("it has no id", Reason.NO_ID)
        if size is None:
            refuse("it has no size", Reason.NO_SIZE)
        return cls(
            id=row_id,
            size=size,
            name=_text(fields, "display_name"),
            description=_text(fields, "display_description"),
            metadata=_texts(fields, "metadata"),
            container=_text(fields, "container"),
            service=_text(fields, "service"),
            volume_id=_id(fields, "volume_id"),
            snapshot_id=_id(fields, "snapshot_id"),
            object_count=_number(fields, "object_count"),
            data_timestamp=_time(fields, "data_timestamp"),
            created_at=_time(fields, "created_at"),
            updated_at=_time(fields, "updated_at"),
        )


def service_name(scheme: str) -> str:
    """Return the `backup_service` of repositories of one URL scheme.

    Clients look for Cinder's prefix; no driver of Cinder has such a name, so none takes the record.
    """
    return SERVICE_PREFIX + scheme


def check_service_name(text: str) -> None:
    """Refuse a `backup_service` that no name of ours begins with. Raises: RecordRefused.

    Clients may say less than the whole name, even nothing. The scheme is not looked at: a copy of
    the repository may lie elsewhere.
    """
    is_ours = text.startswith(SERVICE_PREFIX) and _SCHEME.fullmatch(text[len(SERVICE_PREFIX) :])
    if not is_ours and not SERVICE_PREFIX.startswith(text):
        raise RecordRefused(
            f"backup_service {text[:80]!r} is another service: records of another service are "
            f"not read here, only those of {SERVICE_PREFIX}*",
            reason=Reason.FOREIGN,
        )


def _uuid(text: str | None) -> str | None:
    return text if text is not None and UUID.fullmatch(text) else None


def _whole_seconds(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=0)


def _clean(text: str) -> str:
    return _UNUSABLE.sub("\ufffd", text)[:TEXT_LENGTH_MAX]


def _is_text(value: object) -> bool:
    if not isinstance(value, str):
        return False
    return len(value) <= TEXT_LENGTH_MAX and _UNUSABLE.search(value) is None


def _text(fields: Mapping[str, object], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not _is_text(value):
        refuse(f"its {name} is no text of at most {TEXT_LENGTH_MAX} characters")
    return None if value is None else str(value)


def _id(fields: Mapping[str, object], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and (not isinstance(value, str) or not UUID.fullmatch(value)):
        refuse(f"its {name} is no UUID")
    return None if value is None else str(value)


def _texts(fields: Mapping[str, object], name: str) -> dict[str, str]:
    value = fields.get(name)
    found = {} if value is None else value
    if not isinstance(found, dict) or not all(
        _is_text(part) for pair in found.items() for part in pair
    ):
        refuse(f"its {name} does not map texts to texts")
    return found


def _number(fields: Mapping[str, object], name: str) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if type(value) is not int or value not in _NUMBERS:
        refuse(f"its {name} is no number that can be")
    return value


def _time(fields: Mapping[str, object], name: str) -> datetime | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not _TIME_FORM.fullmatch(value):
        refuse(f"its {name} is no time")
    try:
        return datetime.strptime(value, _TIME).replace(tzinfo=UTC)
    except ValueError:
        refuse(f"its {name} is no time")


def _time_text(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return _whole_seconds(moment).replace(tzinfo=None).isoformat() + "Z"  # years of four digits
