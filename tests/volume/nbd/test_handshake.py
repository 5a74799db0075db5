from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from backupcore.errors import SourceError, VolumeMissing
from tests.servers import nbd_fake as fake
from tests.servers.nbd_fake import Peer
from tests.volume.nbd.conftest import Opening

Script = Callable[[Peer], None]


def silent_option(peer: Peer) -> None:
    peer.greet()
    peer.option()
    peer.receive(1)


def replying(kind: int, data: bytes = b"", *, on: int = fake.GO) -> Script:
    """Return a script that answers one option so, and the others well."""

    def script(peer: Peer) -> None:
        peer.greet()
        while True:
            option, _ = peer.option()
            if option == on:
                peer.reply(option, kind, data)
            peer.reply(option, fake.ACK)

    return script


def answering_another_option(peer: Peer) -> None:
    peer.greet()
    option, _ = peer.option()
    peer.reply(option + 1, fake.ACK)


def answering_without_magic(peer: Peer) -> None:
    peer.greet()
    peer.option()
    peer.send(bytes(20))


def answering_with_too_much(peer: Peer) -> None:
    peer.greet()
    option, _ = peer.option()
    peer.send(struct.pack(">QIII", 0x3E889045565A9, option, fake.ACK, 0xFFFFFFFF))
    peer.receive(1)


def never_ending(peer: Peer) -> None:
    peer.greet()
    option, _ = peer.option()
    while True:
        peer.reply(option, fake.INFO, bytes(12))


def granting_twice(peer: Peer) -> None:
    peer.greet()
    option, _ = peer.option()
    peer.reply(option, fake.ACK)
    option, _ = peer.option()
    peer.reply(option, fake.META_CONTEXT, struct.pack(">I", 1) + b"base:allocation")
    peer.reply(option, fake.META_CONTEXT, struct.pack(">I", 2) + b"base:allocation")
    peer.reply(option, fake.ACK)
    peer.receive(1)


BLOCKS = struct.Struct(">HIII")

BROKEN: dict[str, Script] = {
    "not NBD": lambda peer: peer.send(b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n"),
    "oldstyle": lambda peer: peer.send(b"NBDMAGIC" + struct.pack(">QH", 0x420281861253, 0)),
    "newstyle that is not fixed": lambda peer: peer.send(b"NBDMAGICIHAVEOPT\0\0"),
    "an answer to another option": answering_another_option,
    "an answer without its magic number": answering_without_magic,
    "an answer of four gigabytes": answering_with_too_much,
    "an answer without end": never_ending,
    "a context nobody asked for": replying(
        fake.META_CONTEXT, bytes(4) + b"x-y:z", on=fake.SET_META_CONTEXT
    ),
    "a context without a name": replying(fake.META_CONTEXT, b"12", on=fake.SET_META_CONTEXT),
    "another reply among contexts": replying(fake.INFO, b"1234", on=fake.SET_META_CONTEXT),
    "a context twice": granting_twice,
    "no size": replying(fake.INFO, struct.pack(">H", 1)),
    "a cut size": replying(fake.INFO, struct.pack(">HQ", 0, 512)),
    "facts that are cut to nothing": replying(fake.INFO, b"1"),
    "another reply among facts": replying(fake.META_CONTEXT, bytes(12)),
    "cut block sizes": replying(fake.INFO, struct.pack(">HI", 3, 512)),
    "a block size of 0": replying(fake.INFO, BLOCKS.pack(3, 0, 4096, 1 << 20)),
    "a block size that is no power of two": replying(fake.INFO, BLOCKS.pack(3, 768, 4096, 1 << 20)),
    "a block size of 128 KiB": replying(fake.INFO, BLOCKS.pack(3, 1 << 17, 1 << 17, 1 << 20)),
    "a longest request below a block": replying(fake.INFO, BLOCKS.pack(3, 512, 512, 256)),
    "an end of options that nobody knows": replying(fake.ERROR + 1),
}


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN)
def test_a_server_that_breaks_the_handshake_is_refused(script: Script, told: Opening) -> None:
    with pytest.raises(SourceError, match=r"fake\.sock: not a sound NBD server: .*: update"):
        told(script)


@pytest.mark.parametrize("size_bytes", [0, (1 << 62) + 1, (1 << 64) - 1])
def test_a_size_that_no_volume_has_is_a_missing_volume(size_bytes: int, told: Opening) -> None:
    with pytest.raises(VolumeMissing, match=f"has {size_bytes} bytes"):
        told(lambda peer: peer.negotiate(size_bytes))


def test_an_end_that_no_request_reaches_is_refused_at_opening(told: Opening) -> None:
    with pytest.raises(VolumeMissing, match="no multiple of the server's block size 4096"):
        told(lambda peer: peer.negotiate(10_000, blocks=(4096, 4096, 1 << 20)))


@pytest.mark.parametrize("option", [fake.STRUCTURED_REPLY, fake.GO])
def test_a_server_that_demands_tls_is_refused_with_what_to_do(option: int, told: Opening) -> None:
    with pytest.raises(VolumeMissing, match=r"demands TLS.*unix socket.*it says: sorry\?"):
        told(replying(fake.ERROR + 5, b"sorry\x1b", on=option))


def test_a_server_that_shuts_down_tells_its_reason(told: Opening) -> None:
    with pytest.raises(VolumeMissing, match="refuses the export: error 7"):
        told(replying(fake.ERROR + 7))


def test_a_forbidden_export_tells_its_reason(told: Opening) -> None:
    with pytest.raises(VolumeMissing, match=r"policy forbids it \(it says: not you\)"):
        told(replying(fake.ERROR + 2, b"not you"))


def test_facts_that_nobody_knows_yet_are_ignored(told: Opening) -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        option, _ = peer.option()
        peer.reply(option, fake.ERROR + 1)
        option, _ = peer.option()
        peer.reply(option, fake.INFO, struct.pack(">H", 77) + b"new")
        peer.reply(option, fake.INFO, struct.pack(">HQH", 0, 4096, 1))
        peer.reply(option, fake.ACK)
        peer.request()

    assert told(script).size_bytes == 4096


def test_a_server_that_refuses_contexts_is_read_whole(told: Opening) -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        for kinds in ([fake.ACK], [fake.ERROR + 9]):
            option, _ = peer.option()
            for kind in kinds:
                peer.reply(option, kind)
        option, _ = peer.option()
        peer.reply(option, fake.INFO, struct.pack(">HQH", 0, 4096, 1))
        peer.reply(option, fake.ACK)
        peer.request()

    assert told(script).extents(0, 4096).tolist() == [[0, 4096]]


def test_a_silent_server_is_a_missing_volume_after_the_time_out(told: Opening) -> None:
    with pytest.raises(VolumeMissing, match=r"silent for 0\.2 s"):
        told(silent_option, timeout_s=0.2)


def test_a_server_that_hangs_up_at_once_is_a_missing_volume(told: Opening) -> None:
    with pytest.raises(VolumeMissing, match=r"hung up|connection broke"):
        told(lambda peer: None)
