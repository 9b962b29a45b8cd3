"""Which tracking store a command means."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.cli.arguments import DEFAULT_FILE
from hokusai.config import load_tracking
from hokusai.tracking.mlflow_config import shipper_environment

if TYPE_CHECKING:
    import argparse

    from hokusai.tracking.mlflow_config import TrackingSettings

__all__ = ["tracking_settings"]


def tracking_settings(arguments: argparse.Namespace) -> TrackingSettings:
    """Return the tracking settings that a command's flags, or the file in this folder, name.

    Calls to a server that does not answer fail within seconds from then on.
    """
    path = Path(arguments.config) if arguments.config else None
    if path is None and Path(DEFAULT_FILE).is_file():
        path = Path(DEFAULT_FILE)
    settings = load_tracking(path, uri=arguments.tracking_uri)
    for name, value in shipper_environment(settings).items():
        os.environ.setdefault(name, value)
    return settings
