"""What a radosgw does for objects when asked to: encryption, locks, storage classes."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from backupcore.driver import Role
from backupcore.driver.registry import open_driver
from backupcore.errors import ObjectMissing, StoreError
from tests.drivers.s3.stage.place import BUCKET, Place
from tests.servers.radosgw import COLD_CLASS

pytestmark = pytest.mark.xdist_group("radosgw")


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    (tmp_path / "key").write_bytes(base64.b64encode(bytes(range(32))) + b"\n")
    return str(tmp_path / "key")


def test_an_object_with_a_customer_key_is_read_with_it(gateway: Place, key_file: str) -> None:
    url = gateway.url(prefix="customer", sse_customer_key_file=key_file)
    with open_driver(url) as driver:
        driver.put("key", [b"0123", b"456789"])
        assert (driver.get("key"), driver.get("key", 2, 3)) == (b"0123456789", b"234")
        assert driver.get("key", 10) == b""
        assert driver.stat("key").size_bytes == 10


def test_without_the_customer_key_nothing_is_read(gateway: Place, key_file: str) -> None:
    with open_driver(gateway.url(prefix="hidden", sse_customer_key_file=key_file)) as driver:
        driver.put("key", [b"0123456789"])
    Path(key_file).write_bytes(b"x" * 32)
    for options in ({}, {"sse_customer_key_file": key_file}):
        with open_driver(gateway.url(prefix="hidden", **options)) as driver:
            for call in (driver.get, driver.stat):
                with pytest.raises(StoreError) as caught:
                    call("key")
                assert not isinstance(caught.value, ObjectMissing)
    with gateway.client() as client, pytest.raises(ClientError):
        client.get_object(Bucket=BUCKET, Key="hidden/key")


def test_a_locked_object_outlives_its_deletion(gateway: Place) -> None:
    lock = {"object_lock": "governance", "object_lock_days": "1", "create_container": "yes"}
    with open_driver(gateway.url("locked", **lock)) as driver:
        for role in Role:
            driver.put(role, [role.encode()], role=role)
        driver.delete(list(Role))
        with pytest.raises(ObjectMissing):
            driver.get(Role.DATA)
        assert list(driver.list()) == []
    with gateway.client() as client:
        versions = client.list_object_versions(Bucket="locked")["Versions"]
        codes = {version["Key"]: _delete_version(client, version) for version in versions}
    denied = "AccessDenied"
    assert codes == {"data": denied, "map": denied, "manifest": denied, "control": ""}


def _delete_version(client: Any, version: Mapping[str, str]) -> str:
    """Try to remove what was stored; return the code of the refusal, if there is one."""
    try:
        client.delete_object(Bucket="locked", Key=version["Key"], VersionId=version["VersionId"])
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


def test_a_lock_on_a_bucket_that_cannot_lock_is_an_error(gateway: Place) -> None:
    options = {"object_lock": "governance", "object_lock_days": "1"}
    with open_driver(gateway.url(**options)) as driver, pytest.raises(StoreError, match="Invalid"):
        driver.put("key", [b"x"])


def test_packs_of_data_go_to_the_storage_class(gateway: Place) -> None:
    with open_driver(gateway.url(prefix="cold", storage_class=COLD_CLASS)) as driver:
        for role in Role:
            driver.put(role, [role.encode()], role=role)
            assert driver.get(role) == role.encode()
    with gateway.client() as client:
        listed = client.list_objects_v2(Bucket=BUCKET, Prefix="cold/")["Contents"]
    cold = [entry["Key"] for entry in listed if entry["StorageClass"] == COLD_CLASS]
    assert (len(listed), cold) == (4, ["cold/data"])


def test_a_storage_class_that_the_store_lacks_is_an_error(gateway: Place) -> None:
    with (
        open_driver(gateway.url(prefix="cold", storage_class="NO_SUCH")) as driver,
        pytest.raises(StoreError),
    ):
        driver.put("key", [b"x"])
