"""A whole Ceph on this machine, for its S3: monitor, one OSD and radosgw, each a process.

Everything is kept in memory and in the folder given. Logins by access key; nothing inside is
authenticated, so all of it listens on the loopback address only.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.servers.process import Server, free_port, wait_for_port

ACCESS_KEY = "tester"
GUEST = "guest"
REGION = "us-east-1"
PROGRAMS = ("ceph-mon", "ceph-osd", "ceph", "monmaptool", "radosgw", "radosgw-admin")
COLD_CLASS = "STANDARD_IA"
START_S_MAX = 90.0

# without cephx radosgw must be told not to ask the monitor for an encrypted session
_CONFIGURATION = """\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon_port}/0,v1:127.0.0.1:{old_mon_port}/0]
public addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
run dir = {folder}
admin socket =
crash dir = {folder}
log file = {folder}/$name.ceph.log
log to stderr = false
err to stderr = true
debug ms = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail warn = 1
mon data avail crit = 1
paxos propose interval = 0.05
paxos min wait = 0.01
[mon]
mon data = {folder}/mon
mon cluster log file = {folder}/cluster.log
[osd]
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 4294967296
osd class update on start = false
[client.rgw]
rgw data = {folder}/rgw
ms mon client mode = crc
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw enable usage log = false
rgw dynamic resharding = false
rgw crypt require ssl = false
rgw override bucket index max shards = 1
rgw thread pool size = 64
"""


@dataclass(frozen=True, slots=True)
class RadosGateway:
    """A running radosgw and the keys of two users; the guest may do what a policy allows."""

    s3_endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    guest_access_key: str
    guest_secret_key: str = field(repr=False)


@contextmanager
def radosgw(folder: Path) -> Iterator[RadosGateway]:
    """Run a Ceph in an empty or new folder; some seconds pass until it answers."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(
            f"no {', '.join(missing)}: apt-get install ceph-mon ceph-osd ceph-common radosgw"
        )
    cluster = _Cluster(folder)
    try:
        cluster.start()
        yield cluster.gateway
    finally:
        cluster.stop()


class _Cluster:
    """The processes, in the order they need each other."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._fsid = str(uuid.uuid4())
        self._mon_port, self._port = free_port(), free_port()
        self._old_mon_port = free_port()
        (folder / "ceph.conf").write_text(
            _CONFIGURATION.format(
                fsid=self._fsid,
                folder=folder,
                mon_port=self._mon_port,
                old_mon_port=self._old_mon_port,
                port=self._port,
            )
        )
        self._servers: list[Server] = []
        self.gateway = RadosGateway(
            s3_endpoint=f"http://127.0.0.1:{self._port}",
            access_key=ACCESS_KEY,
            secret_key=secrets.token_hex(16),
            guest_access_key=GUEST,
            guest_secret_key=secrets.token_hex(16),
        )

    def start(self) -> None:
        """Start all of it and return when S3 is served."""
        self._start_monitor()
        self._start_osd()
        self._make_users()
        server = self._serve("radosgw", "-n", "client.rgw", "-f")
        wait_for_port(self._port, server)

    def stop(self) -> None:
        """End all of it; nothing is to be kept."""
        for server in reversed(self._servers):
            server.kill()

    def _start_monitor(self) -> None:
        monmap = str(self._folder / "monmap")
        place = f"[v2:127.0.0.1:{self._mon_port}/0,v1:127.0.0.1:{self._old_mon_port}/0]"
        self._run("monmaptool", "--create", "--fsid", self._fsid, "--addv", "a", place, monmap)
        self._run("ceph-mon", "-i", "a", "--mkfs", "--monmap", monmap)
        server = self._serve("ceph-mon", "-i", "a", "-f")
        wait_for_port(self._mon_port, server)

    def _start_osd(self) -> None:
        (self._folder / "osd").mkdir()
        osd_id = str(uuid.uuid4())  # the monitor and the OSD must agree on it
        self._run("ceph", "osd", "new", osd_id)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd_id)
        server = self._serve("ceph-osd", "-i", "0", "-f")
        deadline_s = time.monotonic() + START_S_MAX
        while "1 up" not in self._run("ceph", "osd", "stat"):
            if server.has_failed() or time.monotonic() > deadline_s:
                pytest.fail(f"OSD did not start: {server.log.read_text()}")

    def _make_users(self) -> None:
        secret_keys = (self.gateway.secret_key, self.gateway.guest_secret_key)
        for name, secret_key in zip((ACCESS_KEY, GUEST), secret_keys, strict=True):
            keys = ("--access-key", name, "--secret-key", secret_key)
            self._administer("user", "create", "--uid", name, "--display-name", name, *keys)
        self._add_storage_class()

    def _add_storage_class(self) -> None:
        place = ("--placement-id", "default-placement", "--storage-class", COLD_CLASS)
        self._administer("zonegroup", "placement", "add", "--rgw-zonegroup", "default", *place)
        pool = ("--data-pool", "default.rgw.buckets.data")
        self._administer("zone", "placement", "add", "--rgw-zone", "default", *place, *pool)

    def _administer(self, *words: str) -> None:
        self._run("radosgw-admin", "-n", "client.rgw", *words)

    def _environment(self) -> dict[str, str]:
        path = str(self._folder / "ceph.conf")
        return {**os.environ, "CEPH_CONF": path, "CEPH_ARGS": f"--conf {path}"}

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=START_S_MAX,
        )
        if done.returncode:
            pytest.fail(f"{' '.join(command[:3])}: {done.stderr[-2000:]}")
        return done.stdout

    def _serve(self, *command: str) -> Server:
        place = ("--conf", str(self._folder / "ceph.conf"))
        log = self._folder / f"{command[0]}.log"
        self._servers.append(Server([*command, *place], log))
        return self._servers[-1]
