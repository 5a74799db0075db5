"""The options of mount(8): ours, and which of the user's are taken.

Source: nfs(5), nfs-utils manual page.
"""

from __future__ import annotations

import re

from backupcore.errors import Refused

__all__ = ["VERSIONS", "mount_options"]

VERSIONS = ("4.2", "4.1", "4.0", "4", "3")

# A hard mount waits for a server that is away. Attributes may be cached (no `noac`): every call
# opens the directories on its way anew, which asks the server, and objects never change.
_DEFAULTS = {
    "hard": "",
    "lookupcache": "positive",  # what is missing is always asked for
    "retry": "0",  # mount(8) would go on for two minutes by itself
    "nosuid": "",
    "nodev": "",
    "noexec": "",
}
_TAKEN = frozenset(
    re.findall(
        r"\w+",
        "ac acdirmax acdirmin acl acregmax acregmin actimeo clientaddr cto hard lookupcache "
        "max_connect mountport mountproto mountvers nconnect noac noacl nordirplus noresvport "
        "port proto rdirplus rdma resvport retrans retry rsize sec sharecache soft softerr sync "
        "tcp timeo trunkdiscovery wsize xprtsec",
    )
)
_REFUSED = {
    "bg": "mount(8) would return before anything is mounted",
    "local_lock": "other machines would take temporary files that are being written for dead ones",
    "nocto": "objects of other machines would seem missing",
    "nolock": "other machines would take temporary files that are being written for dead ones",
    "nosharecache": "two caches of one export would disagree",
    "nfsvers": "write vers= in the URL",
    "ro": "nothing could be stored; mount it yourself and give mount=",
    "softreval": "what a server said before it went away would be taken for what it says now",
    "vers": "write it as an option of the URL: vers=",
}
_EXCLUSIVE = ("hard", "soft", "softerr")
_VALUE = re.compile(r"[A-Za-z0-9_.:/@%+-]*")


def mount_options(version: str, chosen: str, port: int | None = None) -> str:
    """Return the text for `mount -o`: our options, changed by the user's.

    chosen: of the URL's `options=`, comma-separated. Raises: Refused.
    """
    if version not in VERSIONS:
        raise Refused(f"nfs: vers={version}: known are {', '.join(VERSIONS)}")
    wanted = _parse(chosen)
    if port is not None and "port" in wanted:
        raise Refused("nfs: the port is given twice: in the URL and in options=")
    options = {"vers": version, **_DEFAULTS}
    if set(_EXCLUSIVE) & wanted.keys():
        del options["hard"]
    if port is not None:
        options["port"] = str(port)
    options.update(wanted)
    return ",".join(f"{name}={value}" if value else name for name, value in options.items())


def _parse(chosen: str) -> dict[str, str]:
    wanted: dict[str, str] = {}
    for item in filter(None, chosen.split(",")):
        name, _, value = item.partition("=")
        if name in _REFUSED:
            raise Refused(f"nfs: options={name} is refused: {_REFUSED[name]}")
        if name not in _TAKEN or not _VALUE.fullmatch(value):
            raise Refused(
                f"nfs: options={item!r} is not taken: known are {', '.join(sorted(_TAKEN))}; "
                "for others mount it yourself and give mount="
            )
        if name == "lookupcache" and value not in ("none", "pos", "positive"):
            raise Refused(
                "nfs: lookupcache: objects of other machines would seem missing: leave it"
            )
        if name in wanted:
            raise Refused(f"nfs: options= names {name} twice")
        wanted[name] = value
    if len(set(_EXCLUSIVE) & wanted.keys()) > 1:
        raise Refused(f"nfs: options= names more than one of {', '.join(_EXCLUSIVE)}")
    return wanted
