"""Other libraries are named, and graded by what they changed."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest
from tests.conftest import clean_environment
from tests.reproduction.conftest import HOKUSAI, Store, record_again

from hokusai.digests import canonical_json
from hokusai.errors import InvalidFactError, ReproductionError
from hokusai.provenance.environment import (
    InstalledPackage,
    capture_environment,
    read_environment,
    requirements_bytes,
)
from hokusai.reproduction.fresh_environment import packages_left_out, pinned_packages, run_in_fresh_environment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Outcome


def test_another_library_version_is_named_and_graded_by_what_it_changed(store: Store) -> None:
    file = store.file("environment.json")
    environment = json.loads(file.read_bytes())
    (package,) = [each for each in environment["packages"] if each["name"] == "scikit-learn"]
    here, package["version"] = package["version"], "0.1"
    content = canonical_json(environment)
    record_again(store, file, content)
    result = store.reproduce()
    first = result.first_difference
    assert first is not None
    assert (result.verdict, first.stage, first.grade) == ("identical", "environment", "identical")
    assert (first.subject, first.recorded, first.found) == ("package scikit-learn", "0.1", here)
    assert first.note == "changes at least the bytes of model files"


@pytest.mark.slow
def test_an_environment_that_was_edited_is_no_longer_the_record(store: Store) -> None:
    file = store.file("environment.json")
    file.write_bytes(file.read_bytes().replace(b'"name":"scikit-learn"', b'"name":"scikit-burn"'))
    result = store.reproduce()
    first = result.first_difference
    assert first is not None
    assert (result.verdict, first.stage) == ("different", "environment")
    assert first.subject.endswith("artifact environment.json")


@pytest.mark.slow
def test_a_fresh_environment_that_pip_cannot_make_is_said_clearly(
    store: Store, call: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    done = call("reproduce", store.run_id, "--tracking-uri", store.settings.uri, "--env", "fresh")
    assert done.code == 2
    assert "pip cannot install the recorded packages (No matching distribution found for" in done.err
    assert "--env current" in done.err


@pytest.mark.slow
def test_a_library_of_another_version_is_named_beside_the_first_difference(store: Store, tmp_path: Path) -> None:
    # As pip leaves it: what this process imports is told by the metadata that comes first.
    metadata = tmp_path / "installed" / "joblib-0.0.1.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: joblib\nVersion: 0.0.1\n", encoding="utf-8")
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'installed')!r}); {HOKUSAI[-1]}"
    arguments = ("reproduce", store.run_id, "--tracking-uri", store.settings.uri, "--json")

    edited = "UPDATE latest_metrics SET value = 0.5 WHERE key = 'candidate.accuracy' AND run_uuid = ?"
    assert store.execute(edited, store.run_id) == 1

    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    was = version("joblib")
    assert f"not the same: package joblib was {was}, is 0.0.1, which may change results." in done.stderr
    document = json.loads(done.stdout)
    named, first = document["differences"]
    assert named == {
        "stage": "environment",
        "subject": "package joblib",
        "recorded": was,
        "found": "0.0.1",
        "grade": "identical",
        "note": "may change results",
    }
    assert (first["stage"], first["subject"]) == ("metrics", "evaluation: candidate.accuracy")
    assert (done.returncode, document["verdict"], document["first_difference"]) == (1, "different", first)
    assert document["explanation"] == f"It may come from the environment: package joblib was {was}, is 0.0.1."


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"version": "2.4.6\n--no-index\n/tmp/evil\n#"}, "has a package 'numpy' of version '2.4.6"),
        ({"name": "evil @ file:///tmp/evil #"}, "has a package 'evil @ file:///tmp/evil #' of version"),
        ({"origin": "folder", "revision": "0a\x85/tmp/evil #"}, "expected one line of text"),
        ({"version": "0.0.1"}, "requirements.txt lists other packages than environment.json"),
    ],
)
def test_packages_that_nobody_reads_in_the_recorded_list_are_refused_before_anything_is_installed(
    change: dict[str, str], problem: str, store: Store
) -> None:
    file = store.file("environment.json")
    environment = json.loads(file.read_bytes())
    (package,) = [each for each in environment["packages"] if each["name"] == "numpy"]
    package |= change
    record_again(store, file, canonical_json(environment))
    told: list[str] = []
    with pytest.raises((InvalidFactError, ReproductionError), match=re.escape(problem)):
        run_in_fresh_environment(store.run_id, store.settings, command=["--version"], told=told.append)
    assert told == []


def test_what_pip_reads_is_pins_and_no_comments() -> None:
    # pip goes by an encoding that a comment names, in which a version may hold the end of a line.
    packages = (
        InstalledPackage(name="alpha", version="1+AAo-evil"),
        InstalledPackage(name="mine", version="2.0", origin="folder"),
    )
    environment = dataclasses.replace(capture_environment(), python_implementation="coding: utf-7", packages=packages)
    assert pinned_packages(environment) == b"alpha==1+AAo-evil\n"


def test_the_packages_that_no_index_has_are_named() -> None:
    packages = (
        InstalledPackage(name="alpha", version="1.0"),
        InstalledPackage(name="mine", version="2.0", origin="editable folder"),
        InstalledPackage(name="theirs", version="3.0", origin="repository", revision="1234"),
    )
    environment = dataclasses.replace(capture_environment(), packages=packages)
    assert packages_left_out(environment) == ("mine 2.0 (editable folder)", "theirs 3.0 (repository)")


@pytest.mark.slow
def test_a_fresh_environment_that_lacks_what_hokusai_needs_says_what(
    store: Store, call: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    file = store.file("environment.json")
    environment = json.loads(file.read_bytes())
    for package in environment["packages"]:
        # What a developer works on himself comes from no index.
        package["origin"] = "editable folder"
    content = canonical_json(environment)
    record_again(store, file, content)
    record_again(store, file.with_name("requirements.txt"), requirements_bytes(read_environment(content)))
    done = call("reproduce", store.run_id, "--tracking-uri", store.settings.uri, "--env", "fresh")
    assert done.code == 2
    assert "left out, for they did not come from a package index:" in done.err
    assert "the recorded packages are not enough:" in done.err
    for name in ("mlflow", "numpy", "scikit-learn"):
        assert f"requires {name}, which is not installed." in done.err
