"""Deleting many objects, by as few requests as the store knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from botocore.exceptions import ClientError

from backupcore.errors import Unavailable
from backupcore_s3.client import Client
from backupcore_s3.option import Settings
from backupcore_s3.translation import code_of, is_unable, key_error, translated

__all__ = ["Deletion"]

BATCH_COUNT_MAX = 1000  # what one request takes


class Deletion:
    """Deletes objects of one bucket; remembers whether the store takes more than one a request."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._takes_batches = True  # any thread may set it; it changes once

    def run(self, keys: Iterable[str]) -> None:
        """Delete objects, each key once a batch. Raises: AccessDenied, StoreError, Unavailable."""
        left = iter(keys)
        while batch := list(dict.fromkeys(islice(left, BATCH_COUNT_MAX))):
            is_batch = self._takes_batches and len(batch) > 1
            for key in self._delete_batch(batch) if is_batch else batch:
                self._delete_one(key)

    def _delete_batch(self, batch: Sequence[str]) -> Sequence[str]:
        """Delete objects by one request; return those of which the answer says nothing."""
        above = self._settings.prefix
        keys = [{"Key": above + key} for key in batch]
        with translated(f"{self._settings.place}: deletion"):
            try:
                answer = self._client.delete_objects(
                    Bucket=self._settings.bucket, Delete={"Objects": keys, "Quiet": False}
                )
            except ClientError as error:
                # radosgw 16 denies batches to whom a policy lets delete below a prefix only
                if not is_unable(error) and code_of(error) != "AccessDenied":
                    raise
                self._takes_batches = not is_unable(error)
                return batch
        settled = {entry["Key"] for entry in answer.get("Deleted", ())}
        settled |= self._check(answer.get("Errors", ()))
        return [key for key in batch if above + key not in settled]

    def _check(self, told: Sequence[Mapping[str, Any]]) -> set[str]:
        """Return the keys that were not there; raise for others, what lasts before what passes."""
        missing = {str(entry.get("Key")) for entry in told if entry.get("Code") == "NoSuchKey"}
        errors = [
            key_error(entry, f"s3://{self._settings.bucket}/{entry.get('Key', '')}")
            for entry in told
            if entry.get("Code") != "NoSuchKey"
        ]
        if errors:
            raise min(errors, key=lambda error: isinstance(error, Unavailable))
        return missing

    def _delete_one(self, key: str) -> None:
        with translated(f"{self._settings.place}{key}"):
            try:
                self._client.delete_object(
                    Bucket=self._settings.bucket, Key=self._settings.prefix + key
                )
            except ClientError as error:
                if code_of(error) != "NoSuchKey":
                    raise
