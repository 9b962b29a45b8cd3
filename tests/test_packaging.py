"""What is installed: pins that hold together, and a distribution that has everything in it."""

from __future__ import annotations

import platform
import re
import tomllib
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUNTIME = ROOT / "requirements.txt"
DEVELOPMENT = ROOT / "requirements-dev.txt"
DATA = ROOT / "requirements-data.txt"
PIN_FILES = pytest.mark.parametrize("path", [RUNTIME, DEVELOPMENT, DATA], ids=lambda path: path.name)
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def blocks(path: Path) -> list[str]:
    """Return the logical lines of a requirements file, without comments."""
    text = "\n".join(
        line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")
    )
    return [line for line in re.sub(r"\\\n\s*", " ", text).splitlines() if line.strip()]


def pins(path: Path, *, python: str = platform.python_version()) -> dict[str, Version]:
    """Return the pinned version of every package of a requirements file for a version of Python."""
    found: dict[str, Version] = {}
    environment = {"python_full_version": python, "python_version": python.rpartition(".")[0]}
    for block in blocks(path):
        requirement = Requirement(block.partition(" --hash")[0])
        if requirement.marker and not requirement.marker.evaluate(environment):
            continue
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", block[:80]
        assert canonicalize_name(requirement.name) not in found
        found[canonicalize_name(requirement.name)] = Version(specifier.version)
    return found


def requirements(lines: list[str]) -> list[Requirement]:
    return [Requirement(line) for line in lines]


@PIN_FILES
def test_every_line_pins_one_package_with_its_hashes_and_names_no_index(path: Path) -> None:
    for block in blocks(path):
        name, *hashes = block.split(" --hash")
        assert re.fullmatch(r"[\w.-]+(\[[\w,-]+\])?==[\w.!+]+(\s*;.*)?", name.strip()), block[:80]
        assert hashes
        assert all(HASH.fullmatch(f"--hash{each}".strip()) for each in hashes)
    text = path.read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"(?m)^\s*(-i|-f|-e|-r|-c|--index|--extra-index|--find-links|--trusted)", text)


@pytest.mark.parametrize("requirement", requirements(PROJECT["project"]["dependencies"]), ids=lambda item: item.name)
@pytest.mark.parametrize("python", ["3.11.9", "3.12.4", "3.13.1"])
def test_every_dependency_is_pinned_at_a_version_that_is_allowed(requirement: Requirement, python: str) -> None:
    pinned = pins(RUNTIME, python=python)
    assert canonicalize_name(requirement.name) in pinned
    assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)])


def test_every_tool_of_development_is_pinned_at_a_version_that_is_allowed() -> None:
    pinned = pins(DEVELOPMENT)
    for requirement in requirements(PROJECT["dependency-groups"]["dev"]):
        name = canonicalize_name(requirement.name)
        assert name in pinned
        assert requirement.specifier.contains(pinned[name])


def test_the_pins_of_development_are_those_of_the_runtime_and_more() -> None:
    runtime, development = pins(RUNTIME), pins(DEVELOPMENT)
    assert runtime.items() <= development.items()
    assert development.keys() > runtime.keys()


def test_what_is_imported_here_is_what_is_pinned() -> None:
    names = {canonicalize_name(requirement.name) for requirement in requirements(PROJECT["project"]["dependencies"])}
    pinned = pins(RUNTIME)
    assert {name: Version(version(name)) for name in names} == {name: pinned[name] for name in names}


def test_the_pinned_mlflow_has_the_text_of_its_tables() -> None:
    schema = files("hokusai.tracking") / "mlflow_schemas" / f"{pins(RUNTIME)['mlflow']}.sql"
    assert "CREATE TABLE alembic_version" in schema.read_text(encoding="utf-8")


def test_the_package_is_typed_and_brings_the_data_of_the_demo_and_its_licence() -> None:
    package = Path(str(files("hokusai")))
    assert (package / "py.typed").is_file()
    folder = package / "testing" / "penguins"
    assert {path.name for path in folder.iterdir()} == {
        "LICENSE.txt",
        "base.csv",
        "benchmark.csv",
        "dream.csv",
        "evaluation.toml",
        "torgersen.csv",
        "torgersen_mislabelled.csv",
    }


def test_the_wheel_takes_the_whole_package_and_nothing_in_it_is_ignored() -> None:
    build = PROJECT["tool"]["hatch"]["build"]["targets"]
    assert build["wheel"] == {"packages": ["src/hokusai"]}
    # What version control ignores, the build leaves out.
    ignored = [line.strip() for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()]
    package = ROOT / "src" / "hokusai"
    needed = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert len(needed) > 40
    for pattern in filter(None, ignored):
        assert not [path for path in needed if path.match(pattern.strip("/"))], pattern
    assert (ROOT / PROJECT["project"]["readme"]).is_file()
    assert all((ROOT / name).is_file() for name in PROJECT["project"]["license-files"])


def test_the_command_leads_to_the_function_that_it_names() -> None:
    from hokusai.cli import main

    assert PROJECT["project"]["scripts"] == {"hokusai": f"{main.__module__}:{main.__name__}"}


def test_the_version_is_the_one_that_is_installed() -> None:
    assert version("hokusai-pipeline") == PROJECT["project"]["version"]
