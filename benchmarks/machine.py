"""What machine measurements are made on, as far as it says so itself."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

__all__ = ["describe_machine", "file_system_of"]


def describe_machine() -> dict[str, object]:
    """Return processor, cores, memory and kernel."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": processor_model(_read("/proc/cpuinfo")) or platform.processor(),
        "cpu_count": len(os.sched_getaffinity(0)),
        "memory_bytes": memory,
        "machine": platform.machine(),
        "kernel": platform.release(),
        "system": _system(),
        "python": platform.python_version(),
    }


def processor_model(cpuinfo: str) -> str:
    """Return the model that the kernel tells, or nothing."""
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return found[1].strip() if found else ""


def file_system_of(path: Path, mounts: str | None = None) -> str:
    """Return the kind of file system that a path lies on."""
    place, kind = Path("/"), "unknown"
    for line in (mounts or _read("/proc/self/mounts")).splitlines():
        _, point, name, *_ = line.split(" ")
        mounted = Path(point.replace("\\040", " "))
        if path.is_relative_to(mounted) and len(mounted.parts) >= len(place.parts):
            place, kind = mounted, name
    return kind


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
