"""What a project may have, and has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from backupcore.catalog import DEFAULT_LIMITS
from backupcore.service.caller import Caller
from backupcore.service.context import Context
from backupcore.service.error import Invalid
from backupcore.service.meaning import explained

__all__ = ["Quotas"]


class Quotas:
    """The use cases of quotas."""

    def __init__(self, context: Context) -> None:
        self._catalog = context.catalog
        self._policy = context.policy

    def limits(self, caller: Caller, project_id: str) -> dict[str, int]:
        """Return a project's limits by resource, -1 for none. Raises: Denied."""
        self._policy.check("volume_extension:quotas:show", caller, project_id)
        with explained(), self._catalog.reading() as rows:
            return rows.limits(project_id)

    def usage(self, caller: Caller, project_id: str) -> dict[str, int]:
        """Return what a project holds, by resource. Raises: Denied."""
        self._policy.check("volume_extension:quotas:show", caller, project_id)
        with explained(), self._catalog.reading() as rows:
            return asdict(rows.usage(project_id))

    def change(self, caller: Caller, project_id: str, limits: Mapping[str, int]) -> dict[str, int]:
        """Set limits and return all of them. Raises: Denied, Invalid."""
        self._policy.check("volume_extension:quotas:update", caller, project_id)
        unknown = ", ".join(sorted(set(limits) - set(DEFAULT_LIMITS)))
        if unknown:
            raise Invalid(f"Invalid input received: Bad key(s) in quota set: {unknown[:200]}")
        with explained(), self._catalog.writing() as rows:
            rows.set_limits(project_id, limits)
            return rows.limits(project_id)

    def reset(self, caller: Caller, project_id: str) -> None:
        """Give a project the operator's limits again. Raises: Denied."""
        self._policy.check("volume_extension:quotas:delete", caller, project_id)
        with explained(), self._catalog.writing() as rows:
            rows.reset_limits(project_id)
