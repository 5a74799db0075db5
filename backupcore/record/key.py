"""Who signs records, and whose records one believes: Ed25519 keys in PEM files.

A key is known by its kid: the first 16 hexadecimal digits of the BLAKE3 of its 32 public bytes.
Source: RFC 8032 (Ed25519), RFC 8410 (PKCS #8 and SubjectPublicKeyInfo of it).
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from blake3 import blake3
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from backupcore.errors import NotFound, Refused
from backupcore.record.error import Reason, RecordRefused
from backupcore.runtime import Runtime
from backupcore.units import KIB

__all__ = ["SigningKey", "TrustedKeys"]

log = logging.getLogger(__name__)

_FILE_LENGTH_MAX = 16 * KIB


class SigningKey:
    """The key one deployment signs with; it is never shown."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key()
        self.kid = _kid(self.public)

    @classmethod
    def load_or_create(cls, path: Path, *, runtime: Runtime | None = None) -> SigningKey:
        """Return the key in a file, which is made for its owner alone when there is none.

        Raises: Refused as `load`, and when the file cannot be made.
        """
        try:
            return cls.load(path)
        except NotFound:
            pass
        runtime = runtime or Runtime()
        key = cls(Ed25519PrivateKey.from_private_bytes(runtime.random_bytes(32)))
        try:
            _create(path, key._pem(), runtime.random_bytes(8).hex())
        except FileExistsError:
            return cls.load(path)  # another process was faster
        except OSError as error:
            raise Refused(f"signing key {path} cannot be made: {error.strerror}") from error
        log.info("signing key made", extra={"path": str(path), "kid": key.kid})
        return key

    @classmethod
    def load(cls, path: Path) -> SigningKey:
        """Return the key in a PEM file (PKCS #8, no passphrase).

        Raises: NotFound; Refused when others may read the file or it is no such key.
        """
        text = _read(path, is_secret=True)
        try:
            private = load_pem_private_key(text, password=None)
        except TypeError as error:
            raise Refused(f"signing key {path} has a passphrase: store it without") from error
        except (ValueError, UnsupportedAlgorithm) as error:
            raise Refused(f"signing key {path} is no private key in PEM: {error}") from error
        if not isinstance(private, Ed25519PrivateKey):
            raise Refused(f"signing key {path} is no Ed25519 key: make one of that kind")
        return cls(private)

    @property
    def public_pem(self) -> str:
        """The public key, as others put it among those they trust."""
        return self.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of a signature."""
        return self._private.sign(message)

    def _pem(self) -> bytes:
        return self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid!r})"


class TrustedKeys:
    """Public keys of the exporters whose records are believed, by kid."""

    def __init__(self, keys: Mapping[str, Ed25519PublicKey] | None = None) -> None:
        self._keys = dict(keys or {})

    @classmethod
    def load(cls, folder: Path) -> TrustedKeys:
        """Return the keys in the files `*.pem` of a folder, one each; no name means anything.

        Whoever is no longer trusted, their file is removed. Raises: NotFound when there is no
        folder, Refused when a file holds no Ed25519 public key.
        """
        try:
            names = sorted(name for name in os.listdir(folder) if name.endswith(".pem"))
        except FileNotFoundError as error:
            raise NotFound(f"folder of trusted keys {folder} does not exist: make it") from error
        except OSError as error:
            raise Refused(f"folder of trusted keys {folder}: {error.strerror}") from error
        found: dict[str, Ed25519PublicKey] = {}
        for name in names:
            public = _public_key(folder / name)
            kid = _kid(public)
            if found.setdefault(kid, public) != public:
                raise Refused(f"{folder / name}: another trusted key has its kid {kid}: remove one")
        return cls(found)

    def including(self, key: SigningKey) -> TrustedKeys:
        """Return these keys and one's own."""
        return TrustedKeys({**self._keys, key.kid: key.public})

    @property
    def kids(self) -> frozenset[str]:
        """Who is trusted."""
        return frozenset(self._keys)

    def check(self, kid: str, signature: bytes, message: bytes) -> None:
        """Raise RecordRefused unless a trusted key signed a message."""
        public = self._keys.get(kid)
        if public is None:
            raise RecordRefused(
                f"record: key {kid} signed it, which is not trusted here: add its public key to "
                "the trusted ones if it shall be",
                reason=Reason.UNTRUSTED,
            )
        try:
            public.verify(signature, message)
        except InvalidSignature as error:
            raise RecordRefused(
                f"record: the signature of key {kid} does not fit: it was changed",
                reason=Reason.FORGED,
            ) from error


def _kid(public: Ed25519PublicKey) -> str:
    return blake3(public.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest(8)


def _public_key(path: Path) -> Ed25519PublicKey:
    try:
        public = load_pem_public_key(_read(path, is_secret=False))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Refused(f"{path} holds no public key in PEM: {error}") from error
    if not isinstance(public, Ed25519PublicKey):
        raise Refused(f"{path} holds a key of another kind than Ed25519: remove it")
    return public


def _read(path: Path, *, is_secret: bool) -> bytes:
    """Return the bytes of a small file. Raises: NotFound, Refused."""
    try:
        # without waiting, for what has this name may be a pipe
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise Refused(f"key {path} is no file")
            if is_secret and facts.st_mode & 0o077:
                raise Refused(f"signing key {path} can be read by others: chmod 600 {path}")
            return os.read(descriptor, _FILE_LENGTH_MAX)
        finally:
            os.close(descriptor)
    except FileNotFoundError as error:
        raise NotFound(f"key {path} does not exist") from error
    except OSError as error:
        raise Refused(f"key {path} cannot be read: {error.strerror}") from error


def _create(path: Path, content: bytes, suffix: str) -> None:
    """Make a file that only its owner may read, whole or not at all. Raises: OSError."""
    unfinished = path.with_name(f".{path.name}.{suffix}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with open(os.open(unfinished, flags, 0o600), "wb") as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.link(unfinished, path)
        finally:
            unfinished.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
