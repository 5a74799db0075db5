"""Keys are files that standard tools read and that others cannot."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from backupcore.errors import NotFound, Refused
from backupcore.record import SigningKey, TrustedKeys
from backupcore.runtime import Runtime
from tests.record.world import KEY, OTHER_KEY

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="no openssl: apt-get install openssl"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "record-key.pem"


def openssl(*arguments: str | Path) -> str:
    done = subprocess.run(
        ["openssl", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def written(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def private_pem(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed448.Ed448PrivateKey,
) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_a_key_is_made_once_and_is_the_same_from_then_on(path: Path) -> None:
    made = SigningKey.load_or_create(path)
    assert SigningKey.load_or_create(path).kid == made.kid == SigningKey.load(path).kid
    assert SigningKey.load(path).sign(b"message") == made.sign(b"message")


def test_a_key_is_made_of_the_runtimes_chance(path: Path) -> None:
    runtime = Runtime(random_bytes=lambda length: bytes(range(length)))
    assert SigningKey.load_or_create(path, runtime=runtime).kid == KEY.kid


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_a_key_is_for_its_owner_alone_and_nothing_else_is_left(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        SigningKey.load_or_create(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == [path.name]


def test_two_who_make_a_key_at_once_get_one(path: Path) -> None:
    winner: list[SigningKey] = []

    def random_bytes(length: int) -> bytes:
        if not winner:
            winner.append(SigningKey.load_or_create(path))
        return os.urandom(length)

    loser = SigningKey.load_or_create(path, runtime=Runtime(random_bytes=random_bytes))
    assert loser.kid == winner[0].kid
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o644])
def test_a_key_that_others_can_touch_is_refused(path: Path, mode: int) -> None:
    SigningKey.load_or_create(path)
    path.chmod(mode)
    with pytest.raises(Refused, match="can be read by others: chmod 600"):
        SigningKey.load_or_create(path)


def test_a_key_that_only_its_owner_reads_is_fine(path: Path) -> None:
    made = SigningKey.load_or_create(path)
    path.chmod(0o400)
    assert SigningKey.load(path).kid == made.kid


def test_a_missing_key_is_not_found_and_a_missing_folder_refuses(path: Path) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        SigningKey.load(path)
    with pytest.raises(Refused, match="cannot be made: No such file"):
        SigningKey.load_or_create(path.parent / "gone" / "key.pem")


def test_what_is_no_key_is_refused_and_left_alone(path: Path) -> None:
    encrypted = SigningKey.load_or_create(path)._private.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    cases = {
        "is no private key in PEM": b"",
        "is no private key": KEY.public_pem.encode(),
        "has a passphrase": encrypted,
        "is no Ed25519 key": private_pem(ec.generate_private_key(ec.SECP256R1())),
        "no Ed25519 key: make one": private_pem(ed448.Ed448PrivateKey.generate()),
    }
    for words, content in cases.items():
        with pytest.raises(Refused, match=words):
            SigningKey.load_or_create(written(path, content))
        assert path.read_bytes() == content


def test_a_folder_or_a_pipe_is_no_key(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for place in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(Refused, match="is no file"):
            SigningKey.load(place)


def test_a_name_that_leads_in_circles_is_no_key(path: Path) -> None:
    path.symlink_to(path)
    with pytest.raises(Refused, match="cannot be read"):
        SigningKey.load_or_create(path)


def test_a_key_shows_its_kid_and_never_itself() -> None:
    assert repr(KEY) == f"SigningKey(kid='{KEY.kid}')"


def test_a_kid_is_the_beginning_of_the_public_keys_blake3() -> None:
    raw = KEY.public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert blake3(raw).hexdigest()[:16] == KEY.kid


@needs_openssl
def test_openssl_reads_both_halves_and_checks_a_signature(path: Path, tmp_path: Path) -> None:
    key = SigningKey.load_or_create(path)
    public = written(tmp_path / "public.pem", key.public_pem.encode())
    assert openssl("pkey", "-in", path, "-pubout") == key.public_pem
    message = written(tmp_path / "message", b"backupcore")
    signature = written(tmp_path / "signature", key.sign(b"backupcore"))
    told = openssl(
        "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin",
        "-in", message, "-sigfile", signature,
    )  # fmt: skip
    assert "Success" in told


@needs_openssl
def test_a_key_that_openssl_made_is_taken(path: Path) -> None:
    openssl("genpkey", "-algorithm", "ed25519", "-out", path)
    path.chmod(0o600)
    assert SigningKey.load_or_create(path).public_pem == openssl("pkey", "-in", path, "-pubout")


def test_trusted_keys_are_the_pem_files_of_a_folder_whatever_their_names(tmp_path: Path) -> None:
    written(tmp_path / "site-a.pem", KEY.public_pem.encode(), 0o644)
    written(tmp_path / "z é.pem", OTHER_KEY.public_pem.encode(), 0o644)
    written(tmp_path / "again.pem", KEY.public_pem.encode(), 0o644)
    written(tmp_path / "README", b"not a key")
    assert TrustedKeys.load(tmp_path).kids == {KEY.kid, OTHER_KEY.kid}


def test_an_empty_folder_trusts_nobody_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    assert TrustedKeys.load(tmp_path).kids == frozenset()
    with pytest.raises(NotFound, match="does not exist: make it"):
        TrustedKeys.load(tmp_path / "gone")
    with pytest.raises(Refused, match="Not a directory"):
        TrustedKeys.load(written(tmp_path / "file", b""))


def test_a_file_among_trusted_keys_that_is_none_is_an_error(tmp_path: Path) -> None:
    weak = rsa.generate_private_key(65537, 2048)
    public = weak.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    cases = {"holds no public key": private_pem(weak), "of another kind than Ed25519": public}
    for words, content in cases.items():
        written(tmp_path / "odd.pem", content)
        with pytest.raises(Refused, match=words):
            TrustedKeys.load(tmp_path)
    (tmp_path / "odd.pem").unlink()
    os.mkfifo(tmp_path / "odd.pem")
    with pytest.raises(Refused, match="is no file"):
        TrustedKeys.load(tmp_path)


def test_two_keys_of_one_kid_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backupcore.record.key._kid", lambda public: "0" * 16)
    written(tmp_path / "a.pem", KEY.public_pem.encode())
    written(tmp_path / "b.pem", OTHER_KEY.public_pem.encode())
    with pytest.raises(Refused, match="another trusted key has its kid"):
        TrustedKeys.load(tmp_path)
