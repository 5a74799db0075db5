"""What `python -m backupcore.cli` runs."""

from __future__ import annotations

from backupcore.cli import main

main()
