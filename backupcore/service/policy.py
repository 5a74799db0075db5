"""Who may do what: Cinder's rule names and defaults, so a deployment's policy.yaml drops in."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from oslo_config import cfg
from oslo_policy import policy

from backupcore.errors import Refused
from backupcore.service.caller import Caller
from backupcore.service.error import Denied

__all__ = ["RULES", "Policy"]

_BASE = {
    "context_is_admin": "role:admin",
    "admin_api": "is_admin:True or (role:admin and is_admin_project:True)",
    "xena_system_admin_or_project_reader": (
        "rule:admin_api or (role:reader and project_id:%(project_id)s)"
    ),
    "xena_system_admin_or_project_member": (
        "rule:admin_api or (role:member and project_id:%(project_id)s)"
    ),
}
ANSWERS_MAX = 1024
_READER = "rule:xena_system_admin_or_project_reader"
_MEMBER = "rule:xena_system_admin_or_project_member"
_ADMIN = "rule:admin_api"

# Source: the policy reference of the Block Storage service.
RULES: dict[str, str] = {
    "backup:get_all": _READER,
    "backup:get": _READER,
    "backup:backup_project_attribute": _ADMIN,
    "backup:create": _MEMBER,
    "backup:update": _MEMBER,
    "backup:delete": _MEMBER,
    "backup:restore": _MEMBER,
    "backup:backup-import": _ADMIN,
    "backup:export-import": _ADMIN,
    "volume_extension:backup_admin_actions:reset_status": _ADMIN,
    "volume_extension:backup_admin_actions:force_delete": _ADMIN,
    "volume:get_all": _READER,
    "volume:get": _READER,
    "volume:create": _MEMBER,
    "volume:update": _MEMBER,
    "volume:delete": _MEMBER,
    "volume:get_all_snapshots": _READER,
    "volume:get_snapshot": _READER,
    "volume:create_snapshot": _MEMBER,
    "volume:update_snapshot": _MEMBER,
    "volume:delete_snapshot": _MEMBER,
    "volume_extension:volume_actions:attach": _MEMBER,
    "volume_extension:volume_actions:detach": _MEMBER,
    "volume_extension:volume_admin_actions:reset_status": _ADMIN,
    "volume_extension:snapshot_admin_actions:reset_status": _ADMIN,
    "volume_extension:volume_host_attribute": _ADMIN,
    "volume_extension:volume_tenant_attribute": _READER,
    "volume_extension:volume_mig_status_attribute": _ADMIN,
    "volume_extension:extended_snapshot_attributes": _READER,
    "volume_extension:quotas:show": _READER,
    "volume_extension:quotas:update": _ADMIN,
    "volume_extension:quotas:delete": _ADMIN,
    "volume_extension:services:index": _ADMIN,
    "volume_extension:list_extensions": _READER,
    "volume_extension:availability_zone_list": _READER,
    "volume_extension:type_get": _READER,
    "volume_extension:type_get_all": _READER,
    "limits_extension:used_limits": _READER,
    "message:get_all": _READER,
}


class Policy:
    """Answers whether a caller may do something to a thing of a project."""

    def __init__(self, policy_file: Path | None = None) -> None:
        if policy_file is not None and not policy_file.is_file():
            raise Refused(
                f"{policy_file}: there is no policy file here: check api.auth.policy_file"
            )
        options = cfg.ConfigOpts()
        options([], project="backupcore", default_config_files=[], default_config_dirs=[])
        named = str(policy_file) if policy_file is not None else "no-policy-file"
        self._enforcer = policy.Enforcer(options, policy_file=named)
        options.set_override("policy_dirs", [], group="oslo_policy")
        for name, rule in {**_BASE, **RULES}.items():
            self._enforcer.register_default(policy.RuleDefault(name, rule))
        self._enforcer.load_rules()
        # without a file there is nothing to look for anew with every question
        self._enforcer.use_conf = policy_file is not None
        self._answer = lru_cache(ANSWERS_MAX)(self._ask)

    def allows(self, rule: str, caller: Caller, project_id: str | None = None) -> bool:
        """Return whether a rule lets the caller pass. project_id: of the thing, else the caller's.

        Asked again for the same request the answer is the same: a page of a list asks for each row.
        Raises: AssertionError for a rule that does not exist: a door without one stays shut.
        """
        if rule not in RULES:
            raise AssertionError(f"no policy rule {rule}")
        return self._answer(rule, caller, project_id or caller.project_id)

    def _ask(self, rule: str, caller: Caller, project_id: str) -> bool:
        target = {"project_id": project_id, "user_id": caller.user_id}
        credentials = {
            "user_id": caller.user_id,
            "project_id": caller.project_id,
            "roles": sorted(caller.roles),
            "is_admin": caller.is_admin,
            "is_admin_project": True,
        }
        return bool(self._enforcer.enforce(rule, target, credentials))

    def is_admin(self, roles: Iterable[str]) -> bool:
        """Return whether these roles make an admin of all projects: rule `context_is_admin`."""
        credentials = {"roles": sorted(roles)}
        return bool(self._enforcer.enforce("context_is_admin", {}, credentials))

    def check(self, rule: str, caller: Caller, project_id: str | None = None) -> None:
        """Let pass or not. Raises: Denied."""
        if not self.allows(rule, caller, project_id):
            raise Denied(f"Policy doesn't allow {rule} to be performed.")
