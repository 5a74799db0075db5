"""Drawing pictures of backups: as characters for a terminal or a pipe, and as SVG."""

from __future__ import annotations

from backupcore.cli.drawing.svg import picture_svg
from backupcore.cli.drawing.text import LABEL_WIDTH, picture_text

__all__ = ["LABEL_WIDTH", "picture_svg", "picture_text"]
