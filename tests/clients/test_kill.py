"""A service is killed at moments that REST and the store show; its next life settles it all."""

from __future__ import annotations

import os
import random
import re
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import RunningService, configured, wait_until
from tests.clients.kill_stage import SIZE_BYTES, Stage, begin, content

LOOK_S = 0.003
DELAY_S_MAX = 0.6
DELAY_COUNT = 5
MORE = """
[quotas]
backups = -1
volumes = -1
gigabytes = -1
"""
RESTORING = "restoring-backup"
ACTIONS = (
    "create", "incremental", "create of a volume in use", "restore", "restore to new", "delete",
    "force delete", "import", "export",
)  # fmt: skip
CREATED = {
    "nothing": {"no row", "error", "available"},
    "creating": {"error", "available"},
    "available": {"available"},
}
RESTORED = {
    "available": {"not begun", "volume error_restoring", "restored"},
    RESTORING: {"volume error_restoring", "restored"},
    "available again": {"restored"},
}
MADE = {"an empty volume", "volume error_restoring", "restored"}
# What may become of an action by the status that was seen last before the kill.
ALLOWED: dict[str, dict[str, set[str]]] = {
    "create": CREATED,
    "incremental": CREATED,
    "create of a volume in use": CREATED,
    "import": CREATED,
    "restore": RESTORED,
    "restore to new": {
        **RESTORED,
        "nothing": {"no volume", "volume error", *MADE},
        "creating": {"volume error", *MADE},
        "available": MADE,
    },
    "delete": {
        "available": {"not begun", "gone"},
        "deleting": {"gone"},
        "nothing again": {"gone"},
    },
    "force delete": {
        "creating": {"error", "available", "gone"},
        "available": {"available", "gone"},
        "deleting": {"gone"},
        "nothing again": {"gone"},
    },
    "export": {"available": {"as before"}},
}
JOBS = {"delete": 1, "force delete": 1, "import": 1}  # what the next life may do, at most


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    folder = tmp_path
    service = configured(folder, {"volumebackups": f"posix:{folder}/store"}, more=MORE)
    for name in ("disk.img", "target.img"):
        (folder / "images" / name).write_bytes(content(0))
    service.start()
    stage = Stage(service)
    stage.first = service.create(name="first")
    service.settle()
    yield stage
    service.kill()


def kill(stage: Stage, action: str, moment: str | float) -> str:
    """Kill the service at a moment of an action and return the status that was seen last.

    moment: seconds after the request, a status to be seen, or `store:` and the beginning of a key
    that was not in the store before.
    """
    connection, sight = begin(stage, action)
    before = _keys(stage)
    with closing(connection):
        end = time.monotonic() + (moment if isinstance(moment, float) else DELAY_S_MAX * 3)
        awaited = moment.partition("store:")[2] if isinstance(moment, str) else ""
        while time.monotonic() < end and sight.take() != moment:
            if awaited and any(key.startswith(awaited) for key in _keys(stage) - before):
                break
            time.sleep(LOOK_S)
        stage.service.kill()
    return sight.last


def _keys(stage: Stage) -> set[str]:
    found = (Path(place, name) for place, _, names in os.walk(stage.store) for name in names)
    return {str(path.relative_to(stage.store)) for path in found}


def check(stage: Stage, action: str) -> str:
    """Start it again, check everything, leave it as it was; return what became of the action."""
    service = stage.service
    service.start()
    service.settle()
    wait_until(lambda: "backupcore_queue_length{" not in figures(service))
    check_jobs(service, action)
    check_settled(stage)
    outcome = OUTCOMES[action](stage)
    assert stage.restored(stage.first) == content(0)
    data = stage.write()
    following = service.backup(service.create(name="next", incremental=True, force=True))
    assert (following["status"], following["is_incremental"]) == ("available", True)
    assert stage.restored(following["id"]) == data
    tidy(stage)
    return outcome


def figures(service: RunningService) -> str:
    with urllib.request.urlopen(f"{service.address}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def check_jobs(service: RunningService, action: str) -> None:
    """Check that the new life did what was left, once, and nothing else."""
    pattern = r'^backupcore_jobs_total\{.*kind="(\w+)".*result="(\w+)"\} (\S+)$'
    found = re.findall(pattern, figures(service), re.MULTILINE)
    assert all(kind in action and result == "done" for kind, result, _ in found), found
    assert sum(float(count) for _, _, count in found) <= JOBS.get(action, 0), found


def check_settled(stage: Stage) -> None:
    """Check that nothing is under way, and that exactly what is called available is stored."""
    rows, volumes = stage.backups(), stage.volumes()
    assert {row["status"] for row in rows.values()} <= {"available", "error"}
    resting = {"available", "in-use", "error", "error_restoring"}
    assert {volume["status"] for volume in volumes.values()} <= resting
    available = {key for key, row in rows.items() if row["status"] == "available"}
    assert stage.stored() == available - {stage.copy}
    assert stage.service.get("snapshots/detail")["snapshots"] == []
    frozen = stage.service.folder / "images/.snapshots"
    assert not frozen.exists() or not list(frozen.iterdir())


def tidy(stage: Stage) -> None:
    """Remove everything but the first backup and the two volumes."""
    service = stage.service
    if service.volume(service.volume_id("disk.img"))["status"] == "in-use":
        stage.act_on_volume("disk.img", "os-detach", {})
    for backup_id in set(stage.backups()) - {stage.first}:
        assert service.ask("DELETE", f"backups/{backup_id}").code == 202
    assert {row["id"] for row in service.settle()} == {stage.first}
    for volume in stage.volumes().values():
        if volume["name"] not in ("disk.img", "target.img"):
            assert service.ask("DELETE", f"volumes/{volume['id']}").code == 202


def became_created(stage: Stage) -> str:
    disk = stage.service.volume(stage.service.volume_id("disk.img"))
    assert disk["status"] == ("in-use" if disk["attachments"] else "available")
    made = stage.named("subject")
    if made is None:
        return "no row"
    if made["status"] == "error":
        assert made["fail_reason"] == "incomplete backup reset on manager restart"
        return "error"
    assert stage.restored(made["id"]) == content(stage.number)
    return "available"


def became_restored(stage: Stage) -> str:
    target = stage.service.volume(stage.service.volume_id("target.img"))
    return _of_target(stage, target, stage.target_before, "not begun")


def became_restored_to_new(stage: Stage) -> str:
    volume = stage.fresh()
    if volume is None:
        return "no volume"
    return _of_target(stage, volume, bytes(SIZE_BYTES), "an empty volume")


def _of_target(stage: Stage, volume: dict[str, Any], before: bytes, untouched: str) -> str:
    """Tell what became of a target: one that is available is whole, the old or the new."""
    assert stage.backups()[stage.victim]["status"] == "available"
    if volume["status"] != "available":
        return f"volume {volume['status']}"
    is_restored = stage.read(volume) == content(stage.number)
    assert is_restored or stage.read(volume) == before
    return "restored" if is_restored else untouched


def became_deleted(stage: Stage) -> str:
    left = stage.backups().get(stage.victim)
    return "gone" if left is None else {"available": "not begun"}[left["status"]]


def became_force_deleted(stage: Stage) -> str:
    assert stage.service.volume(stage.service.volume_id("disk.img"))["status"] == "available"
    left = stage.backups().get(stage.victim)
    return "gone" if left is None else str(left["status"])


def became_imported(stage: Stage) -> str:
    assert stage.restored(stage.victim) == content(stage.number)
    taken = stage.backups().get(stage.copy)
    if taken is None:
        return "no row"
    if taken["status"] == "available":
        assert stage.restored(stage.copy) == content(stage.number)
        return "available"
    assert str(taken["fail_reason"]).startswith("incomplete import")
    return "error"


def became_exported(stage: Stage) -> str:
    assert stage.restored(stage.victim) == content(stage.number)
    return "as before"


OUTCOMES: dict[str, Callable[[Stage], str]] = {
    "create": became_created,
    "incremental": became_created,
    "create of a volume in use": became_created,
    "restore": became_restored,
    "restore to new": became_restored_to_new,
    "delete": became_deleted,
    "force delete": became_force_deleted,
    "import": became_imported,
    "export": became_exported,
}
SAMPLE = {"create of a volume in use": "store:data/", "delete": "deleting"}
VISIBLE: dict[str, tuple[str, ...]] = {
    "create": ("creating", "store:data/", "store:backups/"),
    "incremental": ("creating", "store:data/", "store:backups/"),
    "create of a volume in use": ("creating", "store:data/", "store:backups/"),
    "restore": (RESTORING,),
    "restore to new": ("creating", "available", RESTORING),
    "delete": ("deleting", "store:backups/"),
    "force delete": ("deleting", "store:backups/"),
    "import": ("creating", "available"),
    "export": (),
}


def test_a_service_killed_within_an_action_is_settled_by_its_next_life(stage: Stage) -> None:
    for action, moment in SAMPLE.items():
        seen = kill(stage, action, moment)
        assert check(stage, action) in ALLOWED[action][seen], (action, moment, seen)


@pytest.mark.long
@pytest.mark.parametrize("action", ACTIONS)
def test_a_service_killed_at_any_time_is_settled_by_its_next_life(
    stage: Stage, action: str
) -> None:
    chance = random.Random(action)
    delays = [chance.random() ** 2 * DELAY_S_MAX for _ in range(DELAY_COUNT)]
    table: Counter[tuple[str, str]] = Counter()
    moments: list[str | float] = [*VISIBLE[action], *delays]
    for moment in moments:
        seen = kill(stage, action, moment)
        outcome = check(stage, action)
        table[seen, outcome] += 1
        print(action, moment, seen, outcome, sep=" | ", flush=True)  # noqa: T201 - for the design
        assert outcome in ALLOWED[action].get(seen, ()), (moment, seen, outcome)
    assert action == "export" or len({seen for seen, _ in table}) > 1
    for (seen, outcome), count in sorted(table.items()):
        print(f"| {action} | {seen} | {outcome} | {count} |")  # noqa: T201 - for the design
