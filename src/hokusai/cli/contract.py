"""``hokusai contract infer``: a first data contract, from base data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.cli import display
from hokusai.cli.arguments import DEFAULT_FILE
from hokusai.cli.check import write_atomically
from hokusai.config import load_config
from hokusai.datasets.contract_file import write_contract
from hokusai.datasets.contract_inference import INFERENCE_COMMENTS, infer_contract
from hokusai.datasets.read_settings import ReadSettings
from hokusai.datasets.reader_process import TableReader
from hokusai.errors import ConfigurationError
from hokusai.report.visible_text import visible_text

if TYPE_CHECKING:
    import argparse

    from hokusai.datasets.contract import Contract
    from hokusai.steps.data_settings import DataSettings

__all__ = ["infer"]


def infer(arguments: argparse.Namespace) -> int:
    """Print the contract that the base data keep, or write it to a file that is not there yet."""
    output = Path(arguments.output) if arguments.output else None
    if output is not None and output.exists() and not arguments.force:
        problem = "is there already, and may have been edited. Name another file, or replace it with --force."
        raise ConfigurationError(problem, source=str(output))
    text = write_contract(_infer(arguments), comments=INFERENCE_COMMENTS)
    if output is None:
        sys.stdout.write(text)
        return 0
    write_atomically(output, text)
    print(f"Wrote {visible_text(output)}. Read and correct it, then name it.")
    display.print_setting("data.contract", output, file=Path(arguments.config or DEFAULT_FILE))
    print(f"\nNext: {display.command_name()} check FILE")
    return 0


def _infer(arguments: argparse.Namespace) -> Contract:
    path = Path(arguments.config or DEFAULT_FILE)
    settings = None
    if arguments.config or path.is_file():
        # The contract that the configuration names may be the one that is to be written.
        settings = load_config(path, flags={"data.contract": None}).config.data
    if settings is None and arguments.file is None:
        problem = f"no base data were named, and there is no {DEFAULT_FILE} here. Name a file, or a --config."
        raise ConfigurationError(problem, source="command line")
    label = arguments.label or (settings.label if settings else "")
    key = tuple(arguments.key) or (settings.key if settings else ())
    source = Path(arguments.file) if arguments.file is not None or settings is None else settings.base
    with TableReader() as reader:
        columns = _columns(settings, label=label, key=key)
        table = reader.read(source, settings=_reading(settings), columns=columns).table
    if not label:
        problem = "the label is not known. Name the column to predict with --label."
        raise ConfigurationError(problem, source="command line")
    excluded = [name for name in (settings.exclude if settings else ()) if name in table.column_names]
    return infer_contract(table.drop_columns(excluded), label=label, key=key, source=str(source))


def _columns(settings: DataSettings | None, *, label: str, key: tuple[str, ...]) -> list[str] | None:
    """The columns that the evaluation uses, or None for all of the file."""
    if settings is None or not settings.features:
        return None
    return list(dict.fromkeys((*key, *settings.features, label)))


def _reading(settings: DataSettings | None) -> ReadSettings:
    if settings is None:
        return ReadSettings()
    return ReadSettings(
        delimiter=settings.delimiter,
        encoding=settings.encoding,
        missing_values=settings.missing_values,
        types=settings.types,
        limits=settings.limits,
    )
