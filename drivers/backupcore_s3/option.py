"""What a URL `s3://bucket/prefix?option=value` asks for, checked when it is opened."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from backupcore.driver import KEY_LENGTH_MAX, Url
from backupcore.errors import Refused

__all__ = ["Addressing", "Checksums", "Lock", "LockMode", "Settings", "read_settings"]

CONNECTION_COUNT = 32
CUSTOMER_KEY_BYTES = 32
KEY_BYTES_MAX = 1024  # of S3, for prefix and key together
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,254}")
STORAGE_CLASS = re.compile(r"[A-Z0-9_-]{1,64}")

Choice = TypeVar("Choice", bound=StrEnum)


class Addressing(StrEnum):
    """Where the bucket's name stands: in the host's name, in the path, or as the SDK thinks."""

    AUTO = "auto"
    PATH = "path"
    VIRTUAL = "virtual"


class Checksums(StrEnum):
    """When the SDK's own checksums go along; where it need not be, Content-MD5 goes instead."""

    WHEN_SUPPORTED = "when_supported"
    WHEN_REQUIRED = "when_required"


class Encryption(StrEnum):
    """Encryption by the store, with keys that the store keeps."""

    AES256 = "AES256"
    KMS = "aws:kms"


class LockMode(StrEnum):
    """Who may remove a locked object early: some with a special permission, or nobody."""

    GOVERNANCE = "governance"
    COMPLIANCE = "compliance"


@dataclass(frozen=True, slots=True)
class Lock:
    """How objects are protected from deletion, and for how many days from their put on."""

    mode: LockMode
    day_count: int


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that was chosen for a store.

    prefix: empty or ending with a slash. customer_key: 32 bytes, empty when none was given.
    """

    bucket: str
    prefix: str = ""
    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    addressing: Addressing = Addressing.AUTO
    connection_count: int = CONNECTION_COUNT
    checksums: Checksums = Checksums.WHEN_SUPPORTED
    storage_class: str = ""
    encryption: Encryption | None = None
    kms_key_id: str = ""
    customer_key: bytes = field(default=b"", repr=False)
    lock: Lock | None = None
    has_conditional_put: bool = True
    list_lag_s: int = 0
    may_create_container: bool = False

    @property
    def place(self) -> str:
        """Bucket and prefix, for messages."""
        return f"s3://{self.bucket}/{self.prefix}"


def read_settings(url: Url) -> Settings:
    """Return what a URL asks for. Raises: Refused when it is not clear or cannot be."""
    options = url.take_options(*_KNOWN)
    encryption, kms_key_id, customer_key = _encryption(url, options)
    return Settings(
        bucket=_bucket(url),
        prefix=_prefix(url),
        endpoint_url=_endpoint_url(url, options),
        region=options.get("region") or None,
        profile=options.get("profile") or None,
        addressing=_choice(url, options, "addressing_style", Addressing) or Addressing.AUTO,
        connection_count=_count(url, options, "connections", CONNECTION_COUNT),
        checksums=_choice(url, options, "checksums", Checksums) or Checksums.WHEN_SUPPORTED,
        storage_class=_storage_class(url, options),
        encryption=encryption,
        kms_key_id=kms_key_id,
        customer_key=customer_key,
        lock=_lock(url, options),
        has_conditional_put=url.wants("conditional_put", default=True),
        list_lag_s=_count(url, options, "list_lag_s", 0),
        may_create_container=url.wants("create_container"),
    )


_KNOWN = (
    "addressing_style",
    "checksums",
    "conditional_put",
    "connections",
    "create_container",
    "endpoint_url",
    "list_lag_s",
    "object_lock",
    "object_lock_days",
    "profile",
    "region",
    "sse",
    "sse_customer_key_file",
    "sse_kms_key_id",
    "storage_class",
)


def _bucket(url: Url) -> str:
    if not url.host:
        raise Refused(f"{url}: names no bucket: write s3://bucket/prefix")
    if not BUCKET.fullmatch(url.host):
        raise Refused(f"{url}: no bucket has such a name: write s3://bucket/prefix")
    return url.host


def _prefix(url: Url) -> str:
    path = url.path.strip("/")
    if not path:
        return ""
    if not path.isprintable() or {"", ".", ".."} & set(path.split("/")):
        raise Refused(f"{url}: the prefix has a part that is empty, . or .., or is not printable")
    if len(path.encode()) >= KEY_BYTES_MAX - KEY_LENGTH_MAX:
        raise Refused(
            f"{url}: the prefix is longer than {KEY_BYTES_MAX - KEY_LENGTH_MAX - 1} bytes"
        )
    return f"{path}/"


def _endpoint_url(url: Url, options: dict[str, str]) -> str | None:
    given = options.get("endpoint_url")
    if not given:
        return None
    try:
        parts = urlsplit(given)
        is_sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_sound = False
    else:
        if parts.username is not None or parts.query or parts.fragment:
            raise Refused(
                f"{url}: endpoint_url carries credentials or a query: credentials come from "
                "the environment or the AWS configuration files"
            )
    if not is_sound:
        raise Refused(f"{url}: endpoint_url is no URL: write endpoint_url=https://host:port")
    return given


def _storage_class(url: Url, options: dict[str, str]) -> str:
    given = options.get("storage_class", "")
    if given and not STORAGE_CLASS.fullmatch(given):
        raise Refused(f"{url}: storage_class is {given!r}: write a name such as STANDARD_IA")
    return given


def _encryption(url: Url, options: dict[str, str]) -> tuple[Encryption | None, str, bytes]:
    encryption = _choice(url, options, "sse", Encryption)
    kms_key_id = options.get("sse_kms_key_id", "")
    path = options.get("sse_customer_key_file", "")
    if kms_key_id and encryption is not Encryption.KMS:
        raise Refused(f"{url}: sse_kms_key_id is given: write sse=aws:kms with it")
    if path and encryption:
        raise Refused(f"{url}: sse and sse_customer_key_file are given: choose one")
    return encryption, kms_key_id, _customer_key(url, path) if path else b""


def _customer_key(url: Url, path: str) -> bytes:
    """Read a key of 32 bytes, as it is or in base64."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise Refused(f"{url}: sse_customer_key_file {path}: {error.strerror}") from error
    if len(content) == CUSTOMER_KEY_BYTES:
        return content
    try:
        key = base64.b64decode(content.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != CUSTOMER_KEY_BYTES:
        raise Refused(
            f"{url}: sse_customer_key_file {path}: holds no key: "
            f"write {CUSTOMER_KEY_BYTES} bytes or their base64 into it"
        )
    return key


def _lock(url: Url, options: dict[str, str]) -> Lock | None:
    mode = _choice(url, options, "object_lock", LockMode)
    if (mode is None) != ("object_lock_days" not in options):
        raise Refused(f"{url}: object_lock and object_lock_days are given together or not at all")
    return Lock(mode, _count(url, options, "object_lock_days", 0)) if mode else None


def _choice(url: Url, options: dict[str, str], name: str, kind: type[Choice]) -> Choice | None:
    given = options.get(name)
    if given is None:
        return None
    if given not in list(kind):
        raise Refused(f"{url}: {name} is {given!r}: write {' or '.join(kind)}")
    return kind(given)


def _count(url: Url, options: dict[str, str], name: str, default: int) -> int:
    given = options.get(name)
    if given is None:
        return default
    if not (given.isascii() and given.isdigit() and 0 < int(given) < 100_000):
        raise Refused(f"{url}: {name} is {given!r}: write a number from 1 on")
    return int(given)
