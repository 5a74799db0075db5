"""Access by a file of hashed tokens; it is read again when it changes.

[[token]]
sha256 = "…"
user = "nightly"
project = "3f2a…"
roles = ["member"]
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import stat
import threading
import tomllib
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated, TypeAlias

import falcon
import msgspec
from msgspec import Meta, Struct

from backupcore.api.access.identity import Access, Identity, implied, unauthorized
from backupcore.errors import Refused

__all__ = ["TokenAccess", "add_token", "hash_token"]

log = logging.getLogger(__name__)

Name: TypeAlias = Annotated[str, Meta(pattern=r"\A[\w.@-]{1,255}\Z")]
Mark: TypeAlias = tuple[int, ...]


class _Token(Struct, frozen=True, forbid_unknown_fields=True):
    sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    user: Annotated[str, Meta(pattern=r"\A[^\x00-\x1f\x7f]{1,255}\Z")]
    project: Name
    roles: list[Name]


class _Tokens(Struct, frozen=True, forbid_unknown_fields=True):
    token: list[_Token] = []


class TokenAccess(Access):
    """Knows the hashes of tokens, one project each.

    When the file changes to what cannot be believed, nobody comes in until it is mended.
    """

    def __init__(self, path: Path) -> None:
        """Read the file. Raises: Refused when it is not there, not private or not right."""
        self._path = path
        self._lock = threading.Lock()
        self._mark, self._identities = _read(path)

    def identify(self, request: falcon.Request) -> Identity:
        """Find the hash of a token; how long it takes tells nothing of the tokens there are."""
        digest = hash_token(request.get_header("X-Auth-Token") or "")
        found = self._current().get(digest)
        if not hmac.compare_digest(digest if found else "", digest) or found is None:
            raise unauthorized()
        return found

    def _current(self) -> dict[str, Identity]:
        """Return the tokens as the file has them now. Raises: HTTPServiceUnavailable."""
        with self._lock:
            mark = _mark_of(self._path)
            if mark != self._mark:
                self._identities, self._mark = {}, mark
                try:
                    self._mark, self._identities = _read(self._path)
                except Refused as error:
                    self._mark = (*mark, 0)
                    log.error("tokens refused", extra={"reason": str(error)})
                    raise falcon.HTTPServiceUnavailable(
                        description="Nobody can be let in now: the operator's log tells more."
                    ) from error
            return self._identities


def add_token(path: Path, token: str, *, user: str, project: str, roles: Sequence[str]) -> None:
    """Write the hash of a new token to the end of a file, made when there is none.

    Raises: Refused before anything is written when nobody could come in afterwards.
    """
    fields = {"sha256": hash_token(token), "user": user, "project": project, "roles": list(roles)}
    try:
        msgspec.convert(fields, _Token)
        user.encode()
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise Refused(
            f"user {user!r}, project {project!r}: a user is up to 255 printable characters, a "
            "project up to 255 letters, digits and . _ @ -"
        ) from error
    # such JSON is TOML too
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items()]
    try:
        old = path.read_bytes() if path.exists() else b""
        content = old + "\n".join(["", "[[token]]", *lines, ""]).encode()
        _parse(path, content)
        _replace(path, content)
    except OSError as error:
        raise Refused(f"{path}: cannot be written: {error.strerror}") from error


def _replace(path: Path, content: bytes) -> None:
    """Give a file a new content at once and leave it to its owner; the old one stays till then."""
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            if path.exists():
                found = path.stat()
                os.fchown(file.fileno(), found.st_uid, found.st_gid)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def hash_token(token: str) -> str:
    """Return what the file of tokens keeps of one: tokens are random, no salt is needed."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _mark_of(path: Path) -> Mark:
    """Return what changes with a file; empty when it is not there."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return _mark(found)


def _mark(found: os.stat_result) -> Mark:
    return (
        found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode,
        found.st_uid,
    )  # fmt: skip


def _read(path: Path) -> tuple[Mark, dict[str, Identity]]:
    """Return the state of a file and the identities by hash. Raises: Refused."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            _check_private(path, found)
            return _mark(found), _parse(path, file.read())
    except OSError as error:
        raise Refused(
            f"{path}: no tokens: {error.strerror}: make one with `backupcore token add`"
        ) from error


def _parse(path: Path, content: bytes) -> dict[str, Identity]:
    """Return the identities by hash that a file's content names. Raises: Refused."""
    try:
        tokens = msgspec.convert(tomllib.loads(content.decode()), _Tokens).token
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise Refused(f"{path}: {error}") from error
    return {
        token.sha256: Identity(token.user, token.project, implied(token.roles)) for token in tokens
    }


def _check_private(path: Path, found: os.stat_result) -> None:
    """Refuse a file that others may read or write, or that another user put there."""
    if not stat.S_ISREG(found.st_mode):
        raise Refused(f"{path}: no regular file")
    if found.st_uid not in (0, os.geteuid()):
        raise Refused(f"{path}: belongs to another user: chown it")
    if found.st_mode & 0o077:
        raise Refused(f"{path}: others may read or write it: chmod 600 {path}")
