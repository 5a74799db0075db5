"""A tool that copies: `backup IMAGE STATE LABEL`, `restore STATE LABEL TARGET`; or it fails."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def main(verb: str, *words: str) -> None:
    if verb == "backup":
        image, state, label = words
        shutil.copyfile(image, Path(state) / label)
    elif verb == "restore":
        state, label, target = words
        shutil.copyfile(Path(state) / label, target)
    elif verb == "spoil":
        state, label, target = words
        Path(target).write_bytes((Path(state) / label).read_bytes()[:-1] + b"\0")
    elif verb == "fail":
        sys.exit("no such thing")


if __name__ == "__main__":
    main(*sys.argv[1:])
