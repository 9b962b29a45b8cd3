"""What a run was made with: packages, Python, platform, processor, numerical libraries, locale, variables.

Nothing here names a person, a host or a folder: an environment travels with its run to whoever reads the tracking
store. Nothing is asked of another program, and nothing is sent anywhere.
"""

from __future__ import annotations

import dataclasses
import json
import locale
import os
import platform
import re
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from hokusai.digests import canonical_json, sha256
from hokusai.errors import InvalidFactError
from hokusai.provenance.processor import Processor, describe_processor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "ENVIRONMENT_FORMAT",
    "ENVIRONMENT_NAME",
    "REQUIREMENTS_NAME",
    "VARIABLES",
    "VARIABLES_OF_FOLDERS",
    "ArtifactLog",
    "Environment",
    "EnvironmentCapture",
    "InstalledPackage",
    "NumericalLibrary",
    "capture_environment",
    "environment_bytes",
    "read_environment",
    "requirements_bytes",
]

ENVIRONMENT_NAME = "environment.json"
"""The artifact that holds an environment."""
REQUIREMENTS_NAME = "requirements.txt"
"""The artifact that lists its packages so that pip installs them."""
ENVIRONMENT_FORMAT = "hokusai-environment/1"

VARIABLES = (
    "ARROW_USER_SIMD_LEVEL",
    "BLIS_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "GLIBC_TUNABLES",
    "GOTO_NUM_THREADS",
    "KMP_AFFINITY",
    "KMP_BLOCKTIME",
    "KMP_DETERMINISTIC_REDUCTION",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_COLLATE",
    "LC_CTYPE",
    "LC_MESSAGES",
    "LC_MONETARY",
    "LC_NUMERIC",
    "LC_TIME",
    "LOKY_MAX_CPU_COUNT",
    "MKL_CBWR",
    "MKL_DEBUG_CPU_TYPE",
    "MKL_DYNAMIC",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_NUM_THREADS",
    "MKL_THREADING_LAYER",
    "NPY_DISABLE_CPU_FEATURES",
    "NPY_ENABLE_CPU_FEATURES",
    "NUMEXPR_NUM_THREADS",
    "OMP_DYNAMIC",
    "OMP_MAX_ACTIVE_LEVELS",
    "OMP_NUM_THREADS",
    "OMP_PLACES",
    "OMP_PROC_BIND",
    "OMP_SCHEDULE",
    "OMP_THREAD_LIMIT",
    "OMP_WAIT_POLICY",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
    "OPENBLAS_VERBOSE",
    "POLARS_MAX_THREADS",
    "PYTHONCOERCECLOCALE",
    "PYTHONDEVMODE",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONHASHSEED",
    "PYTHONIOENCODING",
    "PYTHONNOUSERSITE",
    "PYTHONOPTIMIZE",
    "PYTHONSAFEPATH",
    "PYTHONUTF8",
    "TBB_NUM_THREADS",
    "TZ",
    "VECLIB_MAXIMUM_THREADS",
)
"""Environment variables that can change a result or its text; their values are recorded."""
VARIABLES_OF_FOLDERS = (
    "DYLD_INSERT_LIBRARIES",
    "DYLD_LIBRARY_PATH",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
)
"""Environment variables of which only is recorded that they are set: they hold folders."""
_IS_SET = "(set)"
# Numbers, words and lists of them. Anything else, such as a path, counts as set and is not shown.
_SHOWN = re.compile(r"[A-Za-z0-9_.,:=@+{}()* -]{0,100}")
# What may stand in a list for pip: no space, no address, no option.
_PACKAGE_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_PACKAGE_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_-]*")
_TIME_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,2}")

PackageOrigin: TypeAlias = Literal["index", "archive", "repository", "folder", "editable folder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledPackage:
    """One installed distribution.

    Attributes:
        name: Its normalised name, such as ``scikit-learn``.
        version: Its version.
        origin: Where it was installed from: a package ``index``, an ``archive`` at an address, a version control
            ``repository``, a ``folder``, or an ``editable folder``.
        revision: The commit of a repository, or the SHA-256 of an archive; empty where none is recorded.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    name: str
    version: str
    origin: PackageOrigin = "index"
    revision: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericalLibrary:
    """A loaded library that computes with threads of its own.

    Attributes:
        kind: ``blas`` or ``openmp``.
        name: Such as ``openblas``, ``mkl``, ``blis``; for OpenMP the library's file name without folder and ending.
        version: Its version; empty where it does not tell.
        architecture: The processor that its loops are for; empty where it does not tell.
        threading_layer: How it runs threads; empty where it does not tell.
        threads: How many it uses.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    kind: str
    name: str
    version: str
    architecture: str
    threading_layer: str
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What a run was made with.

    Attributes:
        python_version: Such as ``3.12.4``.
        python_implementation: Such as ``CPython``.
        packages: Every installed distribution that Python would import from, by name.
        system: Such as ``Linux``.
        release: The system's release.
        machine: Such as ``x86_64``.
        libc: The C library with its version, such as ``glibc 2.39``; empty where the system does not tell.
        processor: The processor.
        libraries: The numerical libraries that are loaded, sorted.
        locale: The locale of each category, such as ``LC_CTYPE``.
        encoding: The encoding of the locale.
        time_zone: The names of the local time zone, without and with daylight saving time.
        utc_offset_seconds: Seconds east of UTC without daylight saving time.
        variables: The variables of `VARIABLES` and `VARIABLES_OF_FOLDERS` that are set; ``(set)`` for a value that is
            not shown.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    python_version: str
    python_implementation: str
    packages: tuple[InstalledPackage, ...]
    system: str
    release: str
    machine: str
    libc: str
    processor: Processor
    libraries: tuple[NumericalLibrary, ...]
    locale: Mapping[str, str]
    encoding: str
    time_zone: tuple[str, ...]
    utc_offset_seconds: int
    variables: Mapping[str, str]


class ArtifactLog(Protocol):
    """Where artifacts go, such as a run."""

    def log_artifact(self, path: str, content: bytes) -> None:
        """Record a file under a path, before it returns."""


class EnvironmentCapture:
    """Captures the environment beside the work, from the moment it is made.

    The numerical libraries are looked at when the environment is asked for, since they are loaded as they are needed.
    Once its digest was told it stays the same: what is recorded must have that digest.
    """

    def __init__(self) -> None:
        """Begin in a thread, which ends by itself."""
        self._environment: Environment | None = None
        self._told: Environment | None = None
        self._thread = threading.Thread(target=self._capture, name="hokusai-environment", daemon=True)
        self._thread.start()

    def environment(self) -> Environment:
        """Return the environment, once it is captured."""
        if self._told is not None:
            return self._told
        self._thread.join()
        # In a child made by os.fork the thread counts as ended, and has brought nothing.
        captured = self._environment or _capture_lasting()
        return dataclasses.replace(captured, libraries=_libraries())

    def sha256(self) -> str:
        """Return the SHA-256 of the environment as it will be recorded; it does not change from then on."""
        self._told = self.environment()
        return sha256(environment_bytes(self._told))

    def record(self, run: ArtifactLog) -> None:
        """Record the environment, and its packages as a requirements file, as artifacts of a run."""
        environment = self.environment()
        run.log_artifact(ENVIRONMENT_NAME, environment_bytes(environment))
        run.log_artifact(REQUIREMENTS_NAME, requirements_bytes(environment))

    def _capture(self) -> None:
        self._environment = _capture_lasting()


def capture_environment() -> Environment:
    """Return what this process works with."""
    return dataclasses.replace(_capture_lasting(), libraries=_libraries())


def environment_bytes(environment: Environment) -> bytes:
    """Return an environment as canonical JSON; see ``docs/formats/environment.md``."""
    return canonical_json({"format": ENVIRONMENT_FORMAT, **dataclasses.asdict(environment)})


def read_environment(content: bytes) -> Environment:
    """Return the environment that :func:`environment_bytes` wrote.

    Raises:
        InvalidFactError: The bytes are none, or hold what no run records: a text that is more than one line or cannot
            be printed, or a package whose name or version is none.
    """
    from pydantic import TypeAdapter  # slow to load, and nobody who captures needs it

    try:
        document = json.loads(content)
        found = document.pop("format", None) if isinstance(document, dict) else None
        if found != ENVIRONMENT_FORMAT:
            problem = f"is in the format {found!r:.80}, expected {ENVIRONMENT_FORMAT!r}."
            raise InvalidFactError("", ENVIRONMENT_NAME, problem)
        environment = TypeAdapter(Environment).validate_json(json.dumps(document))
    except ValueError as error:
        problem = f"is not what a run records of its environment ({error})."
        raise InvalidFactError("", ENVIRONMENT_NAME, problem) from error
    _refuse_strange_texts(environment)
    return environment


def requirements_bytes(environment: Environment) -> bytes:
    """Return the packages as a requirements file: one pin a line, sorted.

    A package that did not come from a package index has a comment in its place: where it lies is known to the machine
    alone that it was installed on.
    """
    lines = [f"# {environment.python_implementation} {environment.python_version}"]
    for package in environment.packages:
        pin = f"{package.name}=={package.version}"
        revision = f" {package.revision}" if package.revision else ""
        lines.append(pin if package.origin == "index" else f"# {pin} ({package.origin}{revision})")
    return "".join(f"{line}\n" for line in lines).encode()


def _refuse_strange_texts(environment: Environment) -> None:
    """Refuse what would be an order to pip or to a terminal where it is written out.

    Raises:
        InvalidFactError: There is such a text.
    """
    for package in environment.packages:
        if not _is_installable(package):
            problem = (
                f"has a package {package.name!r:.80} of version {package.version!r:.80}, expected a name like "
                "'scikit-learn' and a version like '1.9.1'. It was edited, and nothing is done by it."
            )
            raise InvalidFactError("", ENVIRONMENT_NAME, problem)
    for text in _texts(dataclasses.asdict(environment)):
        if not text.isprintable():
            problem = f"holds {text!r:.80}, expected one line of text. It was edited, and nothing is done by it."
            raise InvalidFactError("", ENVIRONMENT_NAME, problem)


def _is_installable(package: InstalledPackage) -> bool:
    """Say whether an index could have a package of this name and version."""
    return bool(_PACKAGE_NAME.fullmatch(package.name) and _PACKAGE_VERSION.fullmatch(package.version))


def _texts(value: object) -> Iterator[str]:
    """Yield every text in a value, names of fields included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in (*value, *value.values()):
            yield from _texts(item)
    elif isinstance(value, tuple):
        for item in value:
            yield from _texts(item)


def _capture_lasting() -> Environment:
    """Return everything but the numerical libraries, of which more may be loaded later."""
    return Environment(
        python_version=platform.python_version(),
        python_implementation=platform.python_implementation(),
        packages=_packages(metadata.distributions()),
        system=platform.system(),
        release=platform.release(),
        machine=platform.machine(),
        libc=" ".join(platform.libc_ver()).strip() if sys.platform == "linux" else "",
        processor=describe_processor(),
        libraries=(),
        locale={name: _locale(name) for name in ("LC_COLLATE", "LC_CTYPE", "LC_NUMERIC", "LC_TIME")},
        encoding=locale.getencoding(),
        time_zone=time.tzname,
        utc_offset_seconds=-time.timezone,
        variables=_variables(os.environ),
    )


def _locale(category: str) -> str:
    return str(locale.setlocale(getattr(locale, category)))


def _variables(environment: Mapping[str, str]) -> dict[str, str]:
    shown = {name: _shown_value(name, environment[name]) for name in VARIABLES if name in environment}
    return {**shown, **{name: _IS_SET for name in VARIABLES_OF_FOLDERS if environment.get(name)}}


def _shown_value(name: str, value: str) -> str:
    pattern = _TIME_ZONE if name == "TZ" else _SHOWN
    return value if not value or pattern.fullmatch(value) else _IS_SET


def _packages(distributions: Iterable[metadata.Distribution]) -> tuple[InstalledPackage, ...]:
    found: dict[str, InstalledPackage] = {}
    for distribution in distributions:
        package = _package(distribution)
        # Python imports from the first place on its path that has it.
        if package is not None:
            found.setdefault(package.name, package)
    return tuple(found[name] for name in sorted(found))


def _package(distribution: metadata.Distribution) -> InstalledPackage | None:
    """Return a distribution; None for what is left over of one that was half removed, or has no name to install."""
    # By its lines and not by the e-mail parser behind Distribution.version, which is ten times slower.
    text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    head = text.partition("\n\n")[0]
    name = re.search(r"^Name:[ \t]*(\S+)", head, re.MULTILINE)
    version = re.search(r"^Version:[ \t]*(\S+)", head, re.MULTILINE)
    if name is None or version is None:
        return None
    origin, revision = _origin(distribution.read_text("direct_url.json"))
    normalised = re.sub(r"[-_.]+", "-", name[1]).lower()
    package = InstalledPackage(name=normalised, version=version[1], origin=origin, revision=revision)
    return package if _is_installable(package) else None


def _origin(direct_url: str | None) -> tuple[PackageOrigin, str]:
    """Return where a distribution came from, by what its installer wrote down (PEP 610), without the address."""
    if not direct_url:
        return "index", ""
    try:
        document = json.loads(direct_url)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        return "archive", ""
    if isinstance(repository := document.get("vcs_info"), dict):
        return "repository", _hexadecimal(repository.get("commit_id"))
    if isinstance(folder := document.get("dir_info"), dict):
        return ("editable folder" if folder.get("editable") is True else "folder"), ""
    archive = document.get("archive_info")
    hashes = archive.get("hashes") if isinstance(archive, dict) else None
    return "archive", _hexadecimal(hashes.get("sha256") if isinstance(hashes, dict) else None)


def _hexadecimal(value: object) -> str:
    return value if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{7,64}", value) else ""


def _libraries() -> tuple[NumericalLibrary, ...]:
    import threadpoolctl

    found = {
        NumericalLibrary(
            kind=str(item["user_api"]),
            name=str(item["internal_api"] if item["user_api"] == "blas" else item["prefix"]),
            version=str(item.get("version") or ""),
            architecture=str(item.get("architecture") or ""),
            threading_layer=str(item.get("threading_layer") or ""),
            threads=int(item["num_threads"]),
        )
        for item in threadpoolctl.threadpool_info()
    }
    return tuple(sorted(found, key=dataclasses.astuple))
