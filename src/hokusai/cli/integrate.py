"""``hokusai dataset integrate``: the integrated table as a file, without training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.cli import display
from hokusai.cli.evaluate import load
from hokusai.report.visible_text import visible_text

if TYPE_CHECKING:
    import argparse

__all__ = ["integrate"]


def integrate(arguments: argparse.Namespace) -> int:
    """Write the table, and say what became of every row."""
    from hokusai.integrated_file import write_integrated

    settings = load(arguments).config.data
    written = write_integrated(settings, Path(arguments.parquet).absolute())
    names = ("offered", "in_benchmark", "duplicates", "near_base", "replaced", "sampled_out", "kept")
    display.print_rows(
        ("table", *(name.replace("_", " ") for name in names)),
        [(count.name, *(f"{getattr(count, name):,}" for name in names)) for count in written.counts],
    )
    for note in written.notes:
        print(f"Note: {note}")
    print(f"Written: {visible_text(str(written.path))}")
    print(f"Where each row comes from: {visible_text(str(written.provenance))}")
    return 0
