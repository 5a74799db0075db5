from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupcore.errors import ManifestDamaged, Refused, RepositoryMissing, Unsupported
from backupcore.model import Buffer, Grid, PackId
from backupcore.repository.control import Config, Domain, Lease, SessionKind, Tomb, seal_control
from backupcore.repository.envelope import open_envelope
from backupcore.repository.key import (
    DATA,
    MAP,
    LeaseName,
    RegisterName,
    TombName,
    domain_key,
    pack_id,
    pack_reference,
    parse_backup_id,
    volume_tag,
)
from tests.repository.sample import (
    BACKUP_ID,
    ID,
    ID_KEY,
    JSON,
    NAME,
    NOW,
    OTHER_ID,
    PROCESS,
    paths,
    put_field,
    rewritten,
)

CONFIG = Config(ID, NOW, OTHER_ID, Grid(4096, 65536), 3)
DOMAIN = Domain(ID, ID_KEY, "project")
LEASE = Lease(ID, 4, SessionKind.BACKUP, NAME, OTHER_ID, 4096, PROCESS, NOW)
PACKS = frozenset({PackId(f"data/{ID}/{ID}-0000000000"), PackId(f"map/{ID}/{ID}-0000000007")})
TOMB = Tomb(ID, 2, PACKS)

Open = Callable[[bytes], object]
EACH: dict[str, tuple[list[Buffer], str, Open]] = {
    "config": (CONFIG.seal(), "conf", Config.open),
    "domain": (DOMAIN.seal(), "doma", lambda data: Domain.open(data, domain_key(ID))),
    "lease": (LEASE.seal(), "leas", lambda data: Lease.open(data, LEASE.name.key)),
    "tomb": (TOMB.seal(), "tomb", lambda data: Tomb.open(data, TOMB.name.key)),
}
KINDS = pytest.mark.parametrize("name", EACH)


@pytest.mark.parametrize(
    ("name", "written"),
    [("config", CONFIG), ("domain", DOMAIN), ("lease", LEASE), ("tomb", TOMB)],
)
def test_what_was_sealed_is_opened(name: str, written: object) -> None:
    parts, _, open_object = EACH[name]
    assert open_object(b"".join(parts)) == written


def test_a_lease_that_decides_no_register_comes_back() -> None:
    lease = Lease(ID, 0, SessionKind.RESTORE, None, OTHER_ID, 0, PROCESS, NOW)
    assert Lease.open(b"".join(lease.seal()), lease.name.key) == lease


def test_a_tomb_without_packs_comes_back() -> None:
    tomb = Tomb(ID, 0, frozenset())
    assert Tomb.open(b"".join(tomb.seal()), tomb.name.key) == tomb


@KINDS
def test_any_flipped_bit_is_found(name: str) -> None:
    parts, _, open_object = EACH[name]
    data = b"".join(parts)
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << position % 8
        with pytest.raises((ManifestDamaged, RepositoryMissing)):
            open_object(bytes(changed))


@KINDS
def test_a_missing_field_is_damage(name: str) -> None:
    parts, kind, open_object = EACH[name]
    for field in set(open_envelope(b"".join(parts), kind).header) - {"volume_tag"}:
        with pytest.raises(ManifestDamaged):
            open_object(rewritten(parts, kind, lambda header: header.pop(field)))  # noqa: B023


@KINDS
def test_a_field_that_is_not_known_is_ignored(name: str) -> None:
    parts, kind, open_object = EACH[name]
    data = rewritten(parts, kind, lambda header: header.update(zebra={"a": [1]}))
    assert open_object(data) == open_object(b"".join(parts))


@KINDS
@given(st.data())
def test_any_value_in_any_field_is_opened_or_refused(name: str, data: st.DataObject) -> None:
    parts, kind, open_object = EACH[name]
    fields = paths(open_envelope(b"".join(parts), kind).header)
    path, value = data.draw(st.sampled_from(fields)), data.draw(JSON)
    with suppress(ManifestDamaged, Unsupported):
        open_object(rewritten(parts, kind, lambda header: put_field(header, path, value)))


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("domain", "domain_id", OTHER_ID),
        ("lease", "session_id", OTHER_ID),
        ("lease", "counter", 5),
        ("tomb", "tomb_id", OTHER_ID),
        ("tomb", "generation", 1),
    ],
)
def test_an_object_under_the_name_of_another_is_refused(
    name: str, field: str, value: object
) -> None:
    parts, kind, open_object = EACH[name]
    data = rewritten(parts, kind, lambda header: header.update({field: value}))
    with pytest.raises(ManifestDamaged, match="another name"):
        open_object(data)


def test_a_config_of_another_program_is_no_repository() -> None:
    with pytest.raises(RepositoryMissing):
        Config.open(b"[core]\n\trepositoryformatversion = 0\n")


def test_an_empty_config_is_no_repository() -> None:
    with pytest.raises(RepositoryMissing):
        Config.open(b"")


@pytest.mark.parametrize(
    ("field", "value"), [("format", 2), ("format", 0), ("features_required", ["a-new-one"])]
)
def test_a_config_that_needs_a_newer_release_says_so(field: str, value: object) -> None:
    def change(header: dict[str, Any]) -> None:
        header[field] = value

    with pytest.raises(Unsupported, match="newer"):
        Config.open(rewritten(CONFIG.seal(), "conf", change))


def test_a_config_whose_writers_need_a_newer_release_can_be_read() -> None:
    config = Config(ID, NOW, OTHER_ID, Grid(), 1, features_to_write=("a-new-one",))
    found = Config.open(b"".join(config.seal()))
    assert (found, found.is_writable) == (config, False)


@pytest.mark.parametrize(("field", "value"), [("digest", "sha-256"), ("cipher", "aes-256-gcm")])
def test_a_domain_with_another_digest_or_cipher_needs_a_newer_release(
    field: str, value: str
) -> None:
    data = rewritten(DOMAIN.seal(), "doma", lambda header: header.update({field: value}))
    with pytest.raises(Unsupported):
        Domain.open(data, domain_key(ID))


@pytest.mark.parametrize(
    "section", [b"config\n", b"\n", b"data/x\n", f"data/{ID}/{ID}-0000000000".encode(), b"\xff\n"]
)
def test_a_tomb_that_names_anything_but_packs_is_damaged(section: bytes) -> None:
    header = open_envelope(b"".join(TOMB.seal()), "tomb").header
    with pytest.raises(ManifestDamaged):
        Tomb.open(b"".join(seal_control("tomb", header, section)), TOMB.name.key)


NUMBERS = st.integers(0, 10**10 - 1)
IDS = st.binary(min_size=16, max_size=16).map(bytes.hex)


@given(IDS, st.uuids(), NUMBERS)
def test_a_name_is_read_back_from_its_key(identity: str, backup_id: object, number: int) -> None:
    register = RegisterName(identity, parse_backup_id(str(backup_id)), number)
    assert RegisterName.parse(register.key) == register
    lease, tomb = LeaseName(identity, number), TombName(identity, number)
    assert (LeaseName.parse(lease.key), TombName.parse(tomb.key)) == (lease, tomb)


@given(st.binary(min_size=36, max_size=36), st.sampled_from([DATA, MAP]))
def test_a_pack_reference_is_read_back_from_its_key(reference: bytes, kind: Any) -> None:
    assert pack_reference(pack_id(kind, reference)) == reference


def test_numbers_in_names_sort_as_they_count() -> None:
    keys = [LeaseName(ID, number).key for number in (0, 1, 9, 10, 99, 100, 10**10 - 1)]
    assert keys == sorted(keys)


@pytest.mark.parametrize(
    "key",
    [
        "", "config", f"backups/{ID}/{BACKUP_ID}/0", f"backups/{ID}/{BACKUP_ID}/00000000000",
        f"backups/{ID.upper()}/{BACKUP_ID}/0000000000", f"backups/{ID}/{BACKUP_ID}/0000000000\n",
        f"backups/{ID}/{BACKUP_ID.upper()}/0000000000", f"x/backups/{ID}/{BACKUP_ID}/0000000000",
        f"sessions/{ID}/123456789", f"sessions/{ID[:-1]}/0000000000", f"sessions/{ID}0000000000",
        f"tombs/{ID}/0000000000", f"tombs/{ID}x0000000000", f"tombs/{ID}.٠٠٠٠٠٠٠٠٠٠",
        f"data/{ID}/{ID}-4294967296", f"data/{ID}/{ID}.0000000000", f"maps/{ID}/{ID}-0000000000",
        f"data/{ID}/{ID}-0000000000/x",
    ],
)  # fmt: skip
def test_no_name_is_read_from_any_other_key(key: str) -> None:
    parsed = (RegisterName.parse(key), LeaseName.parse(key), TombName.parse(key))
    assert (*parsed, pack_reference(key)) == (None, None, None, None)


@pytest.mark.parametrize("text", ["", "latest", "0123", "01234567-89ab-4cde-8f01-23456789abcg"])
def test_what_is_no_uuid_is_no_backup_id(text: str) -> None:
    with pytest.raises(Refused, match="UUID"):
        parse_backup_id(text)


def test_a_backup_id_is_written_in_its_canonical_form() -> None:
    assert parse_backup_id(BACKUP_ID.upper().replace("-", "")) == BACKUP_ID


def test_a_volume_tag_tells_volumes_and_domains_apart_and_hides_the_name() -> None:
    tags = {volume_tag(name, key) for name in ("a", "b", "a\0") for key in (ID_KEY, bytes(32))}
    assert (len(tags), {len(tag) for tag in tags}) == (6, {32})
