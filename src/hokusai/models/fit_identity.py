"""What the result of a fit depends on beside its data: the trainer's code and settings, the libraries, the machine.

Two fits of equal identity, data and seed give equal predictions, bit for bit. A trainer whose code may change unseen
has no identity.
"""

from __future__ import annotations

import os
import platform
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.digests import sha256

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hokusai.digests import JsonValue
    from hokusai.models.column_kinds import ColumnKind
    from hokusai.models.trainers import Trainer

__all__ = ["fit_identity"]

_KNOWN_CODE = ("sklearn", "lightgbm", "xgboost")
_ALWAYS = ("numpy", "scipy", "sklearn", "pandas", "pyarrow")
_READ_BY_SKRUB = {"text", "date", "timestamp"}
_PROCESSOR = Path("/proc/cpuinfo")
# The lines that say which instructions a processor has; the others differ from core to core and from day to day.
_PROCESSOR_LINES = {
    "vendor_id",
    "cpu family",
    "model",
    "model name",
    "flags",
    "Features",
    "CPU implementer",
    "CPU architecture",
    "CPU variant",
    "CPU part",
}
_INSTRUCTIONS = "NPY_DISABLE_CPU_FEATURES"  # the variable by which NumPy is kept from using some of them


def fit_identity(trainer: Trainer, *, kinds: Mapping[str, ColumnKind], threads: int) -> JsonValue:
    """Return everything that a trainer's fits depend on beside data and seed, as JSON; None where nobody can know.

    Args:
        trainer: The trainer with its final parameters. Only those whose code is scikit-learn's, LightGBM's or
            XGBoost's have an identity.
        kinds: What each feature is.
        threads: Threads of every fit.
    """
    from hokusai.models.sklearn_trainer import SklearnTrainer

    # Exactly this class, because a class made from it may be anybody's.
    if type(trainer) is not SklearnTrainer or trainer.prepares_itself:
        return None
    strange: list[object] = []
    described = _described(trainer.estimator, strange)
    words = _described(trainer.words, strange)
    if strange:
        return None
    libraries = {*_ALWAYS, type(trainer.estimator).__module__.partition(".")[0]}
    versions: dict[str, JsonValue] = {name: import_module(name).__version__ for name in sorted(libraries)}
    if _READ_BY_SKRUB & set(kinds.values()):
        versions["skrub"] = version("skrub")  # not imported, which takes a second
    return {
        "trainer": trainer.name,
        "estimator": described,
        "words": words,
        "threads": threads,
        "kinds": dict(kinds),
        "versions": {**versions, "python": platform.python_version(), "hokusai": version("hokusai-pipeline")},
        "code": _own_code(),
        "configuration": _configuration(),
        "machine": _machine(),
    }


def _described(value: object, strange: list[object]) -> JsonValue:
    """Return a setting as JSON that tells 1 from 1.0 and from "1"; what cannot be described goes to ``strange``."""
    from sklearn.base import BaseEstimator

    match value:
        case None | bool() | str():
            return value
        case int() | float():
            return {type(value).__name__: repr(value)}
        case list() | tuple():
            return {type(value).__name__: [_described(item, strange) for item in value]}
        case dict() if all(isinstance(name, str) for name in value):
            return {"dict": {name: _described(item, strange) for name, item in value.items()}}
        case BaseEstimator() if type(value).__module__.partition(".")[0] in _KNOWN_CODE:
            parameters = value.get_params(deep=False)
            return {
                "class": f"{type(value).__module__}.{type(value).__qualname__}",
                "parameters": {name: _described(item, strange) for name, item in parameters.items()},
            }
    strange.append(value)
    return None


def _own_code() -> str:
    """Return the digest of this folder's modules: a checkout changes while its version stays the same."""
    return sha256(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))))


def _configuration() -> JsonValue:
    """Return scikit-learn's settings of this process, as far as they are plain."""
    from sklearn import get_config

    return {name: repr(value) for name, value in get_config().items()}


def _machine() -> JsonValue:
    """Return what floating point depends on: the processor, the C library, and the linear algebra with its threads."""
    import scipy.linalg  # noqa: F401  (it brings its own linear algebra, which then is among what is asked for)
    from threadpoolctl import threadpool_info

    algebra = [
        {name: str(each.get(name, "")) for name in ("internal_api", "version", "architecture", "num_threads")}
        for each in threadpool_info()
        if each["user_api"] == "blas"
    ]
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "libc": list(platform.libc_ver()),
        "processor": _processor(),
        "disabled": os.environ.get(_INSTRUCTIONS, ""),
        "algebra": sorted(algebra, key=repr),
    }


def _processor() -> list[str]:
    try:
        first = _PROCESSOR.read_text("utf-8", errors="replace").split("\n\n", 1)[0]
    except OSError:
        return [platform.processor()]
    return [line for line in first.splitlines() if line.partition(":")[0].strip() in _PROCESSOR_LINES]
