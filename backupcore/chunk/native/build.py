"""Compile the part in C while the package is built; without a compiler there is none.

hatchling runs this for wheels and for editable installations. The flags name no processor: the
code asks for its vectors when it runs.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HERE = Path("backupcore/chunk/native")
FLAGS = ("-std=gnu11", "-O3", "-Wall", "-Wextra", "-shared", "-fPIC")


class NativeBuildHook(BuildHookInterface[Any]):
    """Adds names.so to what is built, and the platform to the wheel's name."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, or say why not."""
        if sys.byteorder != "little" or os.environ.get("BACKUPCORE_NATIVE") == "no":
            return
        folder = Path(self.root) / HERE
        compiler = shlex.split(os.environ.get("CC", "cc"))
        command = [*compiler, *FLAGS, "-o", str(folder / "names.so"), str(folder / "names.c")]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
        except (OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", None) or error
            self.app.display_warning(f"backupcore: the part in C is left out: {reason}")
            return
        build_data["artifacts"].append(f"/{HERE}/names.so")
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
