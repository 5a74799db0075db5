"""All objects below a prefix, page by page; never fewer without an error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from backupcore.errors import StoreError, Unavailable
from backupcore_s3.client import Client
from backupcore_s3.option import Settings
from backupcore_s3.translation import translated

__all__ = ["list_entries"]


def list_entries(client: Client, settings: Settings, prefix: str) -> Iterator[Mapping[str, Any]]:
    """Yield what the store tells of each object whose whole key starts with the prefix.

    Raises: Unavailable, StoreError for a page that is not whole or not what was asked for.
    """
    for page in _pages(client, settings, prefix):
        for entry in page.get("Contents", ()):
            if not entry["Key"].startswith(prefix):
                raise StoreError(f"{settings.place}: asked for {prefix}*, told of {entry['Key']}")
            yield entry


def _pages(client: Client, settings: Settings, prefix: str) -> Iterator[Mapping[str, Any]]:
    what = f"{settings.place}: listing"
    parameters: dict[str, object] = {"Bucket": settings.bucket, "Prefix": prefix}
    while True:
        with translated(what):
            page = client.list_objects_v2(**parameters)
        # an answer that was cut off before its first byte is taken for an empty one
        if "IsTruncated" not in page:
            raise Unavailable(f"{what}: a page does not say whether it is the last")
        yield page
        if not page["IsTruncated"]:
            return
        token = page.get("NextContinuationToken")
        if not token or token == parameters.get("ContinuationToken"):
            raise StoreError(f"{what}: a page that is not the last does not say what follows")
        parameters["ContinuationToken"] = token
