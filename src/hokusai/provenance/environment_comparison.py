"""Two environments side by side: what differs, and whether that can change a result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from hokusai.provenance.environment import Environment, InstalledPackage, NumericalLibrary

__all__ = ["EnvironmentDifference", "compare_environments"]

Effect: TypeAlias = Literal["surely", "possibly", "hardly"]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ORDER: tuple[Effect, ...] = ("surely", "possibly", "hardly")

# Their version stands in the model files that they write, or decides what a fit does.
_MODEL_LIBRARIES = frozenset(["hokusai-pipeline", "lightgbm", "scikit-learn", "skops", "xgboost"])
_COMPUTING_LIBRARIES = _names("""
    catboost joblib mkl numba numexpr numpy onnx onnxruntime optuna pandas polars pyarrow scipy skl2onnx statsmodels
    threadpoolctl torch
    """)
_HARMLESS_VARIABLES = _names("""
    KMP_BLOCKTIME LANG LANGUAGE LC_ALL LC_COLLATE LC_CTYPE LC_MESSAGES LC_MONETARY LC_NUMERIC LC_TIME
    LOKY_MAX_CPU_COUNT OMP_WAIT_POLICY OPENBLAS_VERBOSE PYTHONDEVMODE PYTHONDONTWRITEBYTECODE PYTHONIOENCODING
    PYTHONCOERCECLOCALE PYTHONNOUSERSITE PYTHONSTARTUP TZ
    """)
_ABSENT = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentDifference:
    """One thing that two environments do not have in common.

    Attributes:
        subject: What differs, such as ``package numpy`` or ``variable OMP_NUM_THREADS``.
        first: What the first has; ``none`` where it has nothing.
        second: What the second has.
        effect: Whether that changes results: ``surely`` (at least the bytes of model files), ``possibly``, or
            ``hardly``, where nothing of Hokusai's own depends on it and somebody's own code may.
    """

    subject: str
    first: str
    second: str
    effect: Effect


def compare_environments(first: Environment, second: Environment) -> tuple[EnvironmentDifference, ...]:
    """Return everything that differs between two environments; what changes results surely comes first.

    Args:
        first: One environment, such as that of a recorded run.
        second: The other, such as that of now.
    """
    found = [*_interpreters(first, second), *_packages(first, second), *_machines(first, second)]
    found += _settings(first, second)
    return tuple(sorted(found, key=lambda difference: (_ORDER.index(difference.effect), difference.subject)))


def _interpreters(first: Environment, second: Environment) -> Iterator[EnvironmentDifference]:
    one, other = first.python_version, second.python_version
    is_patch = one.split(".")[:2] == other.split(".")[:2]
    yield from _differing("Python", one, other, "hardly" if is_patch else "possibly")
    yield from _differing(
        "Python implementation", first.python_implementation, second.python_implementation, "possibly"
    )


def _packages(first: Environment, second: Environment) -> Iterator[EnvironmentDifference]:
    one = {package.name: _pin(package) for package in first.packages}
    other = {package.name: _pin(package) for package in second.packages}
    for name in sorted(one.keys() | other.keys()):
        effect: Effect = "possibly" if name in _COMPUTING_LIBRARIES else "hardly"
        effect = "surely" if name in _MODEL_LIBRARIES else effect
        yield from _differing(f"package {name}", one.get(name, _ABSENT), other.get(name, _ABSENT), effect)


def _pin(package: InstalledPackage) -> str:
    if package.origin == "index":
        return package.version
    return " ".join(filter(None, (package.version, "from", package.origin, package.revision)))


def _machines(first: Environment, second: Environment) -> Iterator[EnvironmentDifference]:
    yield from _differing("system", first.system, second.system, "possibly")
    yield from _differing("system release", first.release, second.release, "hardly")
    yield from _differing("machine", first.machine, second.machine, "possibly")
    yield from _differing("C library", first.libc or _ABSENT, second.libc or _ABSENT, "possibly")
    one, other = first.processor, second.processor
    yield from _differing("processor", one.model or _ABSENT, other.model or _ABSENT, "hardly")
    yield from _differing(
        "processor instruction sets", _listed(one.instruction_sets), _listed(other.instruction_sets), "possibly"
    )
    yield from _differing("physical cores", str(one.physical_cores), str(other.physical_cores), "hardly")
    yield from _differing("logical cores", str(one.logical_cores), str(other.logical_cores), "hardly")


def _settings(first: Environment, second: Environment) -> Iterator[EnvironmentDifference]:
    for kind, name in (("blas", "BLAS libraries"), ("openmp", "OpenMP libraries")):
        yield from _differing(name, _described(first.libraries, kind), _described(second.libraries, kind), "possibly")
    for category in sorted(first.locale.keys() | second.locale.keys()):
        yield from _named(f"locale {category}", first.locale, second.locale, category, "hardly")
    yield from _differing("encoding", first.encoding, second.encoding, "hardly")
    yield from _differing("time zone", _zone(first), _zone(second), "hardly")
    for name in sorted(first.variables.keys() | second.variables.keys()):
        effect: Effect = "hardly" if name in _HARMLESS_VARIABLES else "possibly"
        yield from _named(f"variable {name}", first.variables, second.variables, name, effect)


def _named(
    subject: str, first: Mapping[str, str], second: Mapping[str, str], name: str, effect: Effect
) -> Iterator[EnvironmentDifference]:
    yield from _differing(subject, first.get(name, _ABSENT), second.get(name, _ABSENT), effect)


def _differing(subject: str, first: str, second: str, effect: Effect) -> Iterator[EnvironmentDifference]:
    if first != second:
        yield EnvironmentDifference(subject=subject, first=first, second=second, effect=effect)


def _described(libraries: Iterable[NumericalLibrary], kind: str) -> str:
    return _listed(
        " ".join(filter(None, (each.name, each.version, each.architecture, each.threading_layer)))
        + f" with {each.threads} threads"
        for each in libraries
        if each.kind == kind
    )


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(texts) or _ABSENT


def _zone(environment: Environment) -> str:
    minutes, seconds = divmod(abs(environment.utc_offset_seconds), 60)
    sign = "-" if environment.utc_offset_seconds < 0 else "+"
    offset = f"{sign}{minutes // 60:02}:{minutes % 60:02}" + (f":{seconds:02}" if seconds else "")
    return f"{'/'.join(environment.time_zone)} UTC{offset}"
