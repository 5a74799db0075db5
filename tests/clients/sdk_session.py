"""A program with openstacksdk: backs up, exports, imports under another id, deletes, restores.

It is given an endpoint and a token, or nothing: then it logs in as its environment says.
"""

from __future__ import annotations

import base64
import json
import sys
from typing import Any
from uuid import uuid4

import openstack


def main(*given: str) -> dict[str, Any]:
    """Return what the session saw."""
    login: dict[str, Any] = {}
    if given:
        endpoint, token = given
        login = {"auth_type": "admin_token", "auth": {"endpoint": endpoint, "token": token}}
    cloud = openstack.connect(load_yaml_config=False, load_envvars=not given, **login)
    storage = cloud.block_storage
    volume = storage.find_volume("disk.img", ignore_missing=False)
    backup = storage.create_backup(volume_id=volume.id, name="by sdk")
    storage.wait_for_status(backup, "available", failures=["error"], interval=0.1, wait=30)
    answer = storage.get(f"/backups/{backup.id}/export_record").json()["backup-record"]
    record = json.loads(base64.b64decode(answer["backup_url"]))
    record["id"] = copy = str(uuid4())
    answer["backup_url"] = base64.b64encode(json.dumps(record).encode()).decode()
    storage.post("/backups/import_record", json={"backup-record": answer}).raise_for_status()
    imported = storage.get_backup(copy)
    storage.wait_for_status(imported, "available", failures=["error"], interval=0.1, wait=30)
    storage.delete_backup(backup.id)
    storage.wait_for_delete(backup, interval=0.1, wait=30)
    listed = [found.id for found in storage.backups()]
    restored = storage.restore_backup(copy, name="by sdk")
    storage.wait_for_status(
        storage.get_backup(copy), "available", failures=["error"], interval=0.1, wait=30
    )
    return {"copy": copy, "listed": listed, "volume_id": restored.volume_id}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(*sys.argv[1:])))
