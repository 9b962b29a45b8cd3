"""The same command once more, in a virtual environment that is made from the packages which a run recorded."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.errors import ReproductionError
from hokusai.provenance.environment import (
    ENVIRONMENT_NAME,
    REQUIREMENTS_NAME,
    read_environment,
    requirements_bytes,
)
from hokusai.reproduction.evaluation_facts import EVALUATION
from hokusai.reproduction.recorded_evaluation import find_evaluation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hokusai.provenance.environment import Environment
    from hokusai.tracking.mlflow_config import TrackingSettings

__all__ = ["packages_left_out", "pinned_packages", "run_in_fresh_environment"]

_OWN = "hokusai-pipeline"
_RUN = "from hokusai.cli import main; main()"
# Nothing is imported from the working directory, where contributed files may lie.
_MODULE = ("-P", "-m")
# An index that is not there is not asked again and again.
_PIP = (*_MODULE, "pip", "install", "--no-input", "--quiet", "--disable-pip-version-check", "--retries=1", "--no-deps")
# They would bring packages in that are not those of the environment.
_NOT_PASSED_ON = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")


def run_in_fresh_environment(
    run: str, settings: TrackingSettings, *, command: Sequence[str], told: Callable[[str], object]
) -> int:
    """Run a command of ``hokusai`` with the packages that an evaluation recorded, and return its exit code.

    Packages come from the index that pip is set to; those that came from elsewhere are left out. Hokusai itself is
    this one, which must be of the recorded version. The environment is removed afterwards.

    Args:
        run: A run of the evaluation.
        settings: Names the store.
        command: The arguments of ``hokusai``.
        told: Called with what takes long, and with what is left out, before it is done.

    Raises:
        ReproductionError: Hokusai or Python is another one, pip cannot install the packages, or the recorded ones lack
            some that Hokusai needs, or the recorded requirements file lists others.
        InvalidFactError: The recorded environment cannot be read.
        TrackingError: The store does not answer, or has no such run.
    """
    recorded = find_evaluation(run, settings)
    environment = read_environment(recorded.require(EVALUATION, ENVIRONMENT_NAME))
    if recorded.require(EVALUATION, REQUIREMENTS_NAME) != requirements_bytes(environment):
        problem = (
            f"{REQUIREMENTS_NAME} lists other packages than {ENVIRONMENT_NAME}, expected the same in both: one of them "
            "was edited, and nothing is installed. --env current does it again with the packages that are here."
        )
        raise ReproductionError(recorded.key, problem, is_changed=True)
    _require_same(recorded.key, environment)
    left_out = packages_left_out(environment)
    told(f"Installing {len(environment.packages) - len(left_out)} recorded packages with pip, which takes minutes.")
    if left_out:
        told(f"  left out, for they did not come from a package index: {', '.join(left_out)}")
    own = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
    with tempfile.TemporaryDirectory(prefix="hokusai-") as name:
        folder = Path(name)
        venv.create(folder, with_pip=True)
        python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        _install(recorded.key, python, environment, variables=own)
        _copy_hokusai(python)
        _require_complete(recorded.key, python, variables=own)
        return subprocess.run([python, "-P", "-c", _RUN, *command], env=own, check=False).returncode  # noqa: S603


def packages_left_out(environment: Environment) -> tuple[str, ...]:
    """Return the recorded packages that no index has, without Hokusai itself, which is copied."""
    return tuple(
        f"{package.name} {package.version} ({package.origin})"
        for package in environment.packages
        if package.origin != "index" and package.name != _OWN
    )


def pinned_packages(environment: Environment) -> bytes:
    """Return what pip installs: the recorded packages of an index, one pin a line, without Hokusai itself."""
    # No comments: also one may be an order to pip, such as one that names the file's encoding.
    return "".join(
        f"{package.name}=={package.version}\n"
        for package in environment.packages
        if package.origin == "index" and package.name != _OWN
    ).encode("ascii")


def _require_same(evaluation: str, environment: Environment) -> None:
    """Refuse what no environment made here could be.

    Raises:
        ReproductionError: Hokusai or Python is another one.
    """
    here = metadata.version(_OWN)
    recorded = next((package.version for package in environment.packages if package.name == _OWN), "unknown")
    if here != recorded:
        problem = f"it was made with Hokusai {recorded}, and this is {here}. Install that one, and run it there."
        raise ReproductionError(evaluation, problem)
    wanted, found = environment.python_version.split(".")[:2], [str(part) for part in sys.version_info[:2]]
    if wanted != found:
        problem = (
            f"it was made with Python {'.'.join(wanted)}, and this is {'.'.join(found)}. Run Hokusai with that one."
        )
        raise ReproductionError(evaluation, problem)


def _install(evaluation: str, python: Path, environment: Environment, *, variables: dict[str, str]) -> None:
    """Install the recorded packages, each in its recorded version.

    Raises:
        ReproductionError: pip cannot.
    """
    file = python.parents[1] / "requirements.txt"
    file.write_bytes(pinned_packages(environment))
    done = subprocess.run(  # noqa: S603  (the interpreter that has just been made)
        [python, *_PIP, "-r", file], env=variables, check=False, capture_output=True, text=True, errors="replace"
    )
    if done.returncode:
        said = next((line for line in reversed(done.stderr.splitlines()) if line.startswith("ERROR")), "no reason")
        problem = (
            f"pip cannot install the recorded packages ({said.removeprefix('ERROR: ')}). It needs a package index that "
            "has them; --env current does it again with the packages that are here."
        )
        raise ReproductionError(evaluation, problem)


def _require_complete(evaluation: str, python: Path, *, variables: dict[str, str]) -> None:
    """Refuse an environment in which Hokusai cannot run, as where a package was left out.

    Raises:
        ReproductionError: Something that Hokusai needs is missing.
    """
    asked = (str(python), *_MODULE, "pip", "check", "--disable-pip-version-check")
    said = subprocess.run(asked, env=variables, check=False, capture_output=True, text=True, errors="replace").stdout  # noqa: S603
    # What it says of other packages was so when the evaluation was recorded.
    lacking = [line for line in said.splitlines() if line.startswith(_OWN) and line.endswith("is not installed.")]
    if lacking:
        problem = f"the recorded packages are not enough: {' '.join(lacking)} --env current takes those that are here."
        raise ReproductionError(evaluation, problem)


def _copy_hokusai(python: Path) -> None:
    """Copy this Hokusai, with what is installed of its metadata, beside the packages."""
    asked = (str(python), "-P", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    place = Path(subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip())  # noqa: S603
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(__file__).resolve().parents[1], place / "hokusai", ignore=ignored)
    for file in metadata.distribution(_OWN).files or ():
        if file.parts and file.parts[0].endswith(".dist-info"):
            target = place / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(str(file.locate())), target)
