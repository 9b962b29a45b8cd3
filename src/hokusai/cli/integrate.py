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
    display.print_counts(written.counts)
    for note in written.notes:
        print(f"Note: {note}")
    print(f"Written: {visible_text(str(written.path))}")
    print(f"Where each row comes from: {visible_text(str(written.provenance))}")
    return 0
