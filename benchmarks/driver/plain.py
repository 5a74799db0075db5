"""Uploads ready packs as the SDK does by itself, several at once; prints the seconds.

    python -m benchmarks.driver.plain KIND URL FOLDER [--threads 4]

What a backup to the same store cannot do without: the same bytes, in objects of the same size.
"""

from __future__ import annotations

import argparse
import io
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local
from urllib.parse import parse_qs, urlsplit

import boto3
from botocore.config import Config
from swiftclient.client import Connection
from swiftclient.utils import LengthWrapper

__all__ = ["main"]

Upload = Callable[[str, bytes], None]


def _s3_upload(url: str, threads: int) -> Upload:
    parts = urlsplit(url)
    client = boto3.client(
        "s3",
        endpoint_url=parse_qs(parts.query)["endpoint_url"][0],
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=threads),
    )
    bucket, prefix = parts.netloc, parts.path.strip("/")
    if bucket not in [found["Name"] for found in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=bucket)
    return lambda name, content: client.put_object(
        Bucket=bucket, Key=f"{prefix}/{name}", Body=content
    )


def _swift_upload(url: str, threads: int) -> Upload:
    parts = urlsplit(url)
    own = local()

    def connection() -> Connection:
        if not hasattr(own, "connection"):
            auth, user, key = (os.environ[name] for name in ("ST_AUTH", "ST_USER", "ST_KEY"))
            own.connection = Connection(auth, user, key)
        found: Connection = own.connection
        return found

    container, prefix = parts.netloc, parts.path.strip("/")
    connection().put_container(container)

    def upload(name: str, content: bytes) -> None:
        # with the sum that the SDK's own uploader compares unless told not to
        body = LengthWrapper(io.BytesIO(content), len(content), md5=True)
        etag = connection().put_object(container, f"{prefix}/{name}", body, len(content))
        if etag != body.get_md5sum():
            raise SystemExit(f"{name}: stored with ETag {etag}")

    return upload


KINDS = {"s3": _s3_upload, "swift": _swift_upload}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.driver.plain")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=4)
    given = parser.parse_args(arguments)
    upload = KINDS[given.kind](given.url, given.threads)
    packs = [path for path in sorted(given.folder.rglob("*")) if path.is_file()]
    started_s = time.perf_counter()
    with ThreadPoolExecutor(given.threads) as pool:
        list(pool.map(lambda path: upload(path.name, path.read_bytes()), packs))
    print(time.perf_counter() - started_s)


if __name__ == "__main__":
    main()
