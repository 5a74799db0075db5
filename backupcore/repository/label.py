"""What a service keeps in the labels of its manifests, beside the labels that people give.

    project                       whose the backup is
    service:metadata              the backup's metadata, a JSON object of texts
    service:volume:name           what the volume was called when it was backed up,
    service:volume:description    what was said of it,
    service:volume:metadata       and its metadata, a JSON object of texts

What people write is in the values only, so it never passes for a label of the service's; the
command line gives none that is called so. A label lacks that an older release did not know, that
says nothing, or for which the manifest has no room: a register is smaller than 4 KiB.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from backupcore.repository.envelope import canonical_json

__all__ = ["ServiceLabels", "is_of_service"]

# Of the 4095 bytes of a register at most, what ids, numbers and keys leave (1366 at their longest).
ROOM_BYTES = 2600
_PROJECT = "project"
_PREFIX = "service:"
_METADATA = "service:metadata"
_VOLUME_NAME = "service:volume:name"
_VOLUME_DESCRIPTION = "service:volume:description"
_VOLUME_METADATA = "service:volume:metadata"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLabels:
    """What the labels of a manifest say. volume_metadata: None when they do not tell it."""

    project: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    volume_name: str | None = None
    volume_description: str | None = None
    volume_metadata: Mapping[str, str] | None = None

    @classmethod
    def read(cls, labels: Mapping[str, str]) -> ServiceLabels:
        """Return what labels say; those that people gave are metadata too."""
        given = {key: text for key, text in labels.items() if not is_of_service(key)}
        return cls(
            project=labels.get(_PROJECT),
            metadata={**given, **(_texts(labels.get(_METADATA)) or {})},
            volume_name=labels.get(_VOLUME_NAME),
            volume_description=labels.get(_VOLUME_DESCRIPTION),
            volume_metadata=_texts(labels.get(_VOLUME_METADATA)),
        )

    def fit(self, *texts: str) -> tuple[dict[str, str], list[str]]:
        """Return the labels that a manifest has room for, and what the others are called.

        texts: what else its writer wants in it. The project is always among the labels.
        """
        labels = {_PROJECT: self.project} if self.project else {}
        left_out = []
        for key, text in self._wanted().items():
            if _length([*texts, {**labels, key: text}]) <= ROOM_BYTES:
                labels[key] = text
            else:
                left_out.append(key)
        return labels, left_out

    def _wanted(self) -> dict[str, str]:
        """Return the labels besides the project, the dearest first."""
        volume_metadata = self.volume_metadata
        wanted = {
            _VOLUME_NAME: self.volume_name,
            _METADATA: _json(self.metadata) if self.metadata else None,
            _VOLUME_METADATA: None if volume_metadata is None else _json(volume_metadata),
            _VOLUME_DESCRIPTION: self.volume_description,
        }
        return {key: text for key, text in wanted.items() if text}


def is_of_service(key: str) -> bool:
    """Return whether a label is called as those of a service."""
    return key == _PROJECT or key.startswith(_PREFIX)


def _json(metadata: Mapping[str, str]) -> str:
    """Return metadata in ASCII, for it may hold what is no UTF-8."""
    return json.dumps(metadata, separators=(",", ":"), sort_keys=True)


def _length(found: object) -> int:
    return len(canonical_json({"": found}))


def _texts(text: str | None) -> dict[str, str] | None:
    """Return the object of texts that a label is; None when it is nothing of the kind."""
    try:
        found = json.loads(text or "null")
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
        return None
    return found
