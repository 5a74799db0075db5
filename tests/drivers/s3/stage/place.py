"""Where an S3 store of the tests is, and what opens it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import pytest
from boto3.session import Session

BUCKET = "backups"


@dataclass(frozen=True, slots=True)
class Place:
    """An endpoint and the keys to it."""

    endpoint_url: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = "us-east-1"

    def url(self, bucket: str = BUCKET, prefix: str = "", **options: str) -> str:
        """Return the URL of a store; an option of None is left out."""
        chosen = {"endpoint_url": self.endpoint_url, "region": self.region, **options}
        return f"s3://{bucket}/{prefix}?{urlencode(chosen)}"

    def log_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Give the keys to the SDK's own chain."""
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", self.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", self.secret_key)

    @contextmanager
    def client(self) -> Iterator[Any]:
        """Open a client of the SDK, to look from outside."""
        session = Session(
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
        )
        client = session.client("s3", endpoint_url=self.endpoint_url)
        try:
            yield client
        finally:
            client.close()
