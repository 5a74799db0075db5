"""`backupcore init`: make a repository."""

from __future__ import annotations

import click

from backupcore import Grid, create_repository
from backupcore.cli.parameter import repository_option, size, speaking
from backupcore.cli.talk import Talk
from backupcore.repository import DEFAULT_LEVEL
from backupcore.units import format_bytes

__all__ = ["init_command"]

_GRID = Grid()


@click.command("init")
@repository_option
@click.option("--create-container", is_flag=True, help="Make what the URL names first.")
@click.option(
    "--chunk-size",
    type=size,
    metavar="SIZE",
    default=_GRID.chunk_size_bytes,
    show_default=format_bytes(_GRID.chunk_size_bytes),
    help="Unit of change detection and deduplication.",
)
@click.option(
    "--frame-size",
    type=size,
    metavar="SIZE",
    default=_GRID.frame_size_bytes,
    show_default=format_bytes(_GRID.frame_size_bytes),
    help="Unit of compression.",
)
@click.option(
    "--level",
    type=click.IntRange(1, 22),
    default=DEFAULT_LEVEL,
    show_default=True,
    help="How hard zstd tries.",
)
@speaking
def init_command(
    talk: Talk, url: str, *, create_container: bool, chunk_size: int, frame_size: int, level: int
) -> None:
    """Make a new repository."""
    grid = Grid(chunk_size, frame_size)
    with create_repository(
        url, grid=grid, level=level, create_container=create_container
    ) as repository:
        config = repository.config
        talk.tell(
            {
                "url": repository.url,
                "repository_id": config.repository_id,
                "created_at": config.created_at.isoformat(),
                "chunk_size_bytes": config.grid.chunk_size_bytes,
                "frame_size_bytes": config.grid.frame_size_bytes,
                "level": config.level,
                "registry": config.registry,
            },
            f"repository {config.repository_id} made at {repository.url}",
        )
