"""Which versions there are, and which one a request speaks.

/v2 knows no microversions. /v3 takes `OpenStack-API-Version: volume 3.N`, 3.0 without it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import falcon

__all__ = ["HEADER", "MAXIMUM", "Version", "Versions", "choose_version", "version_header"]

HEADER = "OpenStack-API-Version"
MAXIMUM = (3, 64)
_ASKED = re.compile(r"(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """What a request speaks: 2.0, or 3.N."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"

    def is_at_least(self, minor: int) -> bool:
        """Return whether this is microversion 3.minor or later."""
        return self >= Version(3, minor)


def choose_version(path: str, asked: str | None) -> Version:
    """Return what a request speaks. Raises: HTTPNotAcceptable, HTTPBadRequest."""
    if path.split("/")[1:2] != ["v3"]:
        return Version(2, 0)
    wishes = [words[1] for text in (asked or "").split(",")
              if len(words := text.split()) == 2 and words[0] == "volume"]  # fmt: skip
    if not wishes:
        return Version(3, 0)
    if wishes[0] == "latest":
        return Version(*MAXIMUM)
    found = _ASKED.fullmatch(wishes[0])
    if found is None:
        raise falcon.HTTPBadRequest(
            description=f"API Version String {wishes[0][:40]!r} is of invalid format. Must be of "
            "format MajorNum.MinorNum."
        )
    version = Version(int(found[1]), int(found[2]))
    if not Version(3, 0) <= version <= Version(*MAXIMUM):
        raise falcon.HTTPNotAcceptable(
            description=f"Version {version} is not supported by the API. Minimum is 3.0 and "
            f"maximum is {Version(*MAXIMUM)}."
        )
    return version


def version_header(version: Version) -> dict[str, str]:
    """Return the headers that tell what an answer speaks; /v2 never does."""
    if version.major == 2:
        return {}
    return {HEADER: f"volume {version}", "Vary": HEADER}


class Versions:
    """`/`, `/v2` and `/v3`: what there is to speak, told to anybody."""

    def __init__(self, *majors: int) -> None:
        self._majors = majors

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Tell one version, or all with 300."""
        base = request.context.base_url
        response.media = {"versions": [_entry(major, base) for major in self._majors]}
        response.status = 200 if len(self._majors) == 1 else 300


def _entry(major: int, base: str) -> dict[str, object]:
    is_current = major == 3
    return {
        "id": f"v{major}.0",
        "status": "CURRENT" if is_current else "DEPRECATED",
        "version": str(Version(*MAXIMUM)) if is_current else "",
        "min_version": "3.0" if is_current else "",
        "updated": "2023-08-31T00:00:00Z" if is_current else "2017-02-25T12:00:00Z",
        "links": [
            {"rel": "describedby", "type": "text/html", "href": "https://docs.openstack.org/"},
            {"rel": "self", "href": f"{base}/v{major}/"},
        ],
        "media-types": [
            {
                "base": "application/json",
                "type": f"application/vnd.openstack.volume+json;version={major}",
            }
        ],
    }
