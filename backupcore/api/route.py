"""Every call there is: what it is called, which rules guard it, what goes in and comes out.

The application serves nothing that does not stand here; the OpenAPI document is made from it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PREFIXES", "ROUTES", "Route", "find_route"]

PREFIXES = ("/v2/{project_id}", "/v3/{project_id}", "/v3")
_LIST = ("limit", "marker", "offset", "sort", "sort_key", "sort_dir", "all_tenants", "with_count")
_LIST_OF_BACKUPS = (*_LIST, "name", "status", "volume_id", "name~")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A call below version and project.

    rules: of the policy; an action has several and its name decides. body: a schema's name.
    answer: a shape's name, none for an empty body. minor: the microversion it appears in.
    """

    method: str
    path: str
    summary: str
    rules: tuple[str, ...]
    code: int = 200
    body: str | None = None
    answer: str | None = None
    query: tuple[str, ...] = ()
    minor: int = 0

    @property
    def name(self) -> str:
        """Return `GET /backups/{backup_id}`."""
        return f"{self.method} {self.path}"


def _get(
    path: str, summary: str, rule: str, answer: str, *, query: tuple[str, ...] = (), minor: int = 0
) -> Route:
    return Route(
        method="GET", path=path, summary=summary, rules=(rule,), answer=answer, query=query,
        minor=minor,
    )  # fmt: skip


def _post(path: str, summary: str, rule: str, body: str, answer: str, *, code: int = 202) -> Route:
    return Route(
        method="POST", path=path, summary=summary, rules=(rule,), body=body, answer=answer,
        code=code,
    )  # fmt: skip


def _put(path: str, summary: str, rule: str, body: str, answer: str, *, minor: int = 0) -> Route:
    return Route(
        method="PUT", path=path, summary=summary, rules=(rule,), body=body, answer=answer,
        minor=minor,
    )  # fmt: skip


def _delete(path: str, summary: str, rule: str, *, code: int = 202) -> Route:
    return Route(method="DELETE", path=path, summary=summary, rules=(rule,), code=code)


def _action(path: str, summary: str, body: str, *rules: str) -> Route:
    return Route(method="POST", path=path, summary=summary, rules=rules, code=202, body=body)


_BACKUPS = (
    _get("/backups", "List", "backup:get_all", "backups", query=_LIST_OF_BACKUPS),
    _get("/backups/detail", "List with every field", "backup:get_all", "backups-detail",
         query=_LIST_OF_BACKUPS),
    _get("/backups/{backup_id}", "Show", "backup:get", "backup"),
    _post("/backups", "Create", "backup:create", "backup-create", "backup-summary"),
    _put("/backups/{backup_id}", "Change", "backup:update", "backup-update", "backup-summary",
         minor=9),
    _delete("/backups/{backup_id}", "Delete", "backup:delete"),
    _post("/backups/{backup_id}/restore", "Restore", "backup:restore", "backup-restore",
          "restore"),
    _get("/backups/{backup_id}/export_record", "Export", "backup:export-import", "backup-record"),
    _get("/backups/import_record", "Show, read as any other id", "backup:get", "backup"),
    _post("/backups/import_record", "Import", "backup:backup-import", "backup-import",
          "backup-summary", code=201),
    _action("/backups/{backup_id}/action", "Force delete, reset status", "backup-action",
            "volume_extension:backup_admin_actions:force_delete",
            "volume_extension:backup_admin_actions:reset_status"),
)  # fmt: skip
_VOLUMES = (
    _get("/volumes", "List", "volume:get_all", "volumes", query=_LIST),
    _get("/volumes/detail", "List with every field", "volume:get_all", "volumes-detail",
         query=_LIST),
    _get("/volumes/{volume_id}", "Show", "volume:get", "volume"),
    _post("/volumes", "Create", "volume:create", "volume-create", "volume"),
    _put("/volumes/{volume_id}", "Change", "volume:update", "volume-update", "volume"),
    _delete("/volumes/{volume_id}", "Delete", "volume:delete"),
    _action("/volumes/{volume_id}/action", "Attach, detach, reset status", "volume-action",
            "volume_extension:volume_actions:attach", "volume_extension:volume_actions:detach",
            "volume_extension:volume_admin_actions:reset_status"),
)  # fmt: skip
_SNAPSHOTS = (
    _get("/snapshots", "List", "volume:get_all_snapshots", "snapshots", query=_LIST),
    _get("/snapshots/detail", "List with every field", "volume:get_all_snapshots",
         "snapshots-detail", query=_LIST),
    _get("/snapshots/{snapshot_id}", "Show", "volume:get_snapshot", "snapshot"),
    _post("/snapshots", "Create", "volume:create_snapshot", "snapshot-create", "snapshot-made"),
    _put("/snapshots/{snapshot_id}", "Change", "volume:update_snapshot", "snapshot-update",
         "snapshot-made"),
    _delete("/snapshots/{snapshot_id}", "Delete", "volume:delete_snapshot"),
    _action("/snapshots/{snapshot_id}/action", "Reset status", "snapshot-action",
            "volume_extension:snapshot_admin_actions:reset_status"),
)  # fmt: skip
_SURROUNDINGS = (
    _get("/os-quota-sets/{target_id}", "Show quotas", "volume_extension:quotas:show", "quota-set",
         query=("usage",)),
    _get("/os-quota-sets/{target_id}/defaults", "Show default quotas",
         "volume_extension:quotas:show", "quota-set"),
    _put("/os-quota-sets/{target_id}", "Change quotas", "volume_extension:quotas:update",
         "quota-set", "quota-set"),
    _delete("/os-quota-sets/{target_id}", "Take default quotas again",
            "volume_extension:quotas:delete", code=200),
    _get("/limits", "Show limits and usage", "limits_extension:used_limits", "limits"),
    _get("/os-availability-zone", "List zones", "volume_extension:availability_zone_list",
         "zones"),
    _get("/extensions", "List extensions", "volume_extension:list_extensions", "extensions"),
    _get("/os-services", "List services", "volume_extension:services:index", "services"),
    _get("/types", "List volume types", "volume_extension:type_get_all", "types"),
    _get("/types/{type_id}", "Show a volume type", "volume_extension:type_get", "type"),
    _get("/messages", "List messages", "message:get_all", "messages", minor=3),
)  # fmt: skip

ROUTES: tuple[Route, ...] = (*_BACKUPS, *_VOLUMES, *_SNAPSHOTS, *_SURROUNDINGS)
_BY_NAME = {route.name: route for route in ROUTES}


def find_route(method: str, template: str) -> Route | None:
    """Return the call that a path's template leads to; None when there is none."""
    for prefix in PREFIXES:
        route = _BY_NAME.get(f"{method} {template.removeprefix(prefix)}")
        if template.startswith(prefix) and route is not None:
            return route
    return None
