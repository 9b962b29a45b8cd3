"""What a run was made with: everything that matters, nothing that names anybody, and what two of them differ in."""

from __future__ import annotations

import dataclasses
import getpass
import json
import os
import platform
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from hokusai.errors import InvalidFactError
from hokusai.provenance.environment import (
    VARIABLES,
    VARIABLES_OF_FOLDERS,
    Environment,
    EnvironmentCapture,
    InstalledPackage,
    NumericalLibrary,
    capture_environment,
    environment_bytes,
    read_environment,
    requirements_bytes,
)
from hokusai.provenance.environment_comparison import compare_environments
from hokusai.provenance.processor import Processor, describe_processor, read_processor


@pytest.fixture(scope="module")
def environment() -> Environment:
    """That of this process."""
    np.linalg.inv(np.eye(2))
    return capture_environment()


def installed(folder: Path, name: str, version: str, direct_url: object = None, *, file: str = "METADATA") -> None:
    """Write what an installer leaves of a distribution."""
    place = folder / f"{name}-{version}.dist-info"
    place.mkdir(parents=True)
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nAuthor: Anna\n\nName: in the description\n"
    (place / file).write_text(text, encoding="utf-8")
    if direct_url is not None:
        (place / "direct_url.json").write_text(json.dumps(direct_url), encoding="utf-8")


@pytest.fixture
def packages_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the only place where packages are looked for."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


# --- what is captured ------------------------------------------------------------------------------------------------


def test_every_installed_package_is_there_as_the_standard_library_finds_it(environment: Environment) -> None:
    found = {package.name: package.version for package in environment.packages}
    assert {"numpy", "scikit-learn", "mlflow", "hokusai-pipeline"} <= found.keys()
    assert list(found) == sorted(found)
    for name in ("numpy", "scikit-learn", "mlflow", "hokusai-pipeline", "threadpoolctl", "pyyaml"):
        assert found[name] == metadata.version(name)
    everything = {canonicalize_name(each.name) for each in metadata.distributions() if each.name}
    assert found.keys() == everything


def test_python_and_the_platform_are_those_of_this_process(environment: Environment) -> None:
    assert environment.python_version == platform.python_version()
    assert (environment.system, environment.machine) == (platform.system(), platform.machine())
    if sys.platform == "linux":
        assert environment.libc == " ".join(platform.libc_ver())
        assert environment.processor.logical_cores == len(os.sched_getaffinity(0))


def test_numerical_libraries_are_there_with_their_threads_and_without_their_folders(environment: Environment) -> None:
    loaded = {item["version"] or "" for item in threadpoolctl.threadpool_info() if item["user_api"] == "blas"}
    found = [library for library in environment.libraries if library.kind == "blas"]
    assert {library.version for library in found} == loaded != set()
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        assert {each.threads for each in capture_environment().libraries if each.kind == "blas"} == {1}


def test_a_library_that_is_loaded_later_is_there_when_the_run_ends() -> None:
    code = (
        "import sys; from hokusai.provenance.environment import EnvironmentCapture\n"
        "capture = EnvironmentCapture(); before = capture.environment().libraries\n"
        "import numpy.linalg; print(len(before), len(capture.environment().libraries))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before == 0 < after


def test_an_environment_of_which_the_digest_was_told_stays_the_same() -> None:
    code = (
        "import hashlib; from hokusai.provenance.environment import EnvironmentCapture, environment_bytes\n"
        "capture = EnvironmentCapture(); told = capture.sha256()\n"
        "import numpy.linalg; recorded = environment_bytes(capture.environment())\n"
        "print(told == hashlib.sha256(recorded).hexdigest() == capture.sha256())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_a_child_process_that_was_forked_captures_for_itself() -> None:
    code = (
        "import os, threading; from hokusai.provenance import environment\n"
        "begun = threading.Event(); slow = environment.metadata.distributions\n"
        "def wait(): begun.set(); threading.Event().wait(60); return slow()\n"
        "environment.metadata.distributions = wait\n"
        "capture = environment.EnvironmentCapture(); begun.wait(); environment.metadata.distributions = slow\n"
        "child = os.fork()\n"
        "if not child: print(len(capture.environment().packages) > 10, flush=True); os._exit(0)\n"
        "os.waitpid(child, 0); os._exit(0)"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout == "True\n"


def test_a_package_that_is_installed_twice_is_the_one_that_python_imports(
    packages_of: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(packages_of / "first"), str(packages_of / "second")])
    installed(packages_of / "first", "Some_Thing", "2.0")
    installed(packages_of / "second", "some.thing", "1.0")
    assert capture_environment().packages == (InstalledPackage(name="some-thing", version="2.0"),)


def test_what_is_left_of_a_package_that_was_removed_does_not_count(packages_of: Path) -> None:
    (packages_of / "gone-1.0.dist-info").mkdir()
    installed(packages_of, "~ere", "1.0")
    installed(packages_of, "here", "1.0")
    assert [package.name for package in capture_environment().packages] == ["here"]


def test_a_package_that_no_index_has_becomes_a_comment_without_its_address(packages_of: Path) -> None:
    commit, digest = "0a" * 20, "1b" * 32
    places = {
        "edited": {"url": "file:///home/anna/edited", "dir_info": {"editable": True}},
        "local": {"url": "file:///home/anna/local", "dir_info": {}},
        "cloned": {"url": "https://anna:pw@git.example/x", "vcs_info": {"vcs": "git", "commit_id": commit}},
        "wheel": {"url": "file:///home/anna/w.whl", "archive_info": {"hashes": {"sha256": digest}}},
        "odd": {"url": "file:///home/anna/w.whl", "archive_info": {"hash": "anna"}},
    }
    for name, place in places.items():
        installed(packages_of, name, "1.0", place)
    installed(packages_of, "Plain.Package", "1.2.post3")
    installed(packages_of, "broken", "1.0", "no object", file="PKG-INFO")
    lines = requirements_bytes(capture_environment()).decode().splitlines()
    assert lines[0] == f"# {platform.python_implementation()} {platform.python_version()}"
    assert lines[1:] == [
        "# broken==1.0 (archive)",
        f"# cloned==1.0 (repository {commit})",
        "# edited==1.0 (editable folder)",
        "# local==1.0 (folder)",
        "# odd==1.0 (archive)",
        "plain-package==1.2.post3",
        f"# wheel==1.0 (archive {digest})",
    ]


def test_every_line_of_the_requirements_can_be_installed(environment: Environment) -> None:
    lines = [line for line in requirements_bytes(environment).decode().splitlines() if not line.startswith("#")]
    assert len(lines) > 20
    for line in lines:
        requirement = Requirement(line)
        assert str(requirement.specifier).startswith("==")
        assert requirement.url is None


# --- what is not captured --------------------------------------------------------------------------------------------


def test_nothing_names_a_person_a_host_or_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "anna")
    monkeypatch.setenv("PYTHONPATH", f"/home/anna{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("LD_PRELOAD_OF_ANNA", "/home/anna")
    monkeypatch.setenv("LANG", "/home/anna/locale")
    monkeypatch.setenv("TZ", ":/home/anna/zone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    text = environment_bytes(capture_environment()).decode()
    for private in ("anna", "hunter2", "/home", str(Path.home()), sys.prefix, str(Path.cwd()), "site-packages"):
        assert private not in text
    assert json.dumps(socket.gethostname()) not in text
    assert json.dumps(getpass.getuser()) not in text
    assert json.loads(text)["variables"].items() >= {"LANG": "(set)", "TZ": "(set)", "PYTHONPATH": "(set)"}.items()


def test_a_variable_that_changes_numbers_is_recorded_with_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "OMP_NUM_THREADS": "4,2",
        "MKL_CBWR": "AVX2,STRICT",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2_Usable",
        "PYTHONHASHSEED": "0",
        "TZ": "America/Argentina/Ushuaia",
        "LC_ALL": "de_DE.UTF-8",
        "OPENBLAS_CORETYPE": "",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    assert capture_environment().variables.items() >= values.items()


def test_a_variable_that_is_not_listed_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MY_NUM_THREADS", "LC_OTHER", *VARIABLES_OF_FOLDERS, *VARIABLES):
        monkeypatch.setenv(name, "C")
    assert capture_environment().variables == {
        **dict.fromkeys(VARIABLES, "C"),
        **dict.fromkeys(VARIABLES_OF_FOLDERS, "(set)"),
    }


# --- the processor ---------------------------------------------------------------------------------------------------

_X86 = """\
processor\t: {number}
model name\t: Some  CPU @ 2.00GHz
physical id\t: {socket}
core id\t\t: {core}
flags\t\t: fpu pni ssse3 avx avx2 fma hypervisor

"""
_CORES = "".join(_X86.format(number=number, socket=number // 4, core=number % 2) for number in range(8))
_ARM = "processor\t: 0\nFeatures\t: fp asimd sve\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n\nHardware\t: board\n"


def test_only_the_cores_that_may_be_used_count() -> None:
    whole = read_processor(_CORES, usable=range(8))
    assert (whole.model, whole.physical_cores, whole.logical_cores) == ("Some CPU @ 2.00GHz", 4, 8)
    assert whole.instruction_sets == ("avx", "avx2", "fma", "sse3", "ssse3")
    part = read_processor(_CORES, usable={0, 2, 5})
    assert (part.physical_cores, part.logical_cores) == (2, 3)


def test_a_processor_that_has_no_name_is_told_by_its_numbers() -> None:
    found = read_processor(_ARM, usable={0})
    assert (found.model, found.physical_cores) == ("implementer 0x41, part 0xd40", 0)
    assert found.instruction_sets == ("asimd", "sve")


def test_a_system_that_tells_nothing_is_no_error() -> None:
    found = read_processor("", usable={0, 1})
    assert (found.physical_cores, found.logical_cores, found.instruction_sets) == (0, 2, ())


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="not Linux")
def test_this_processor_has_what_the_system_says_of_it() -> None:
    words = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    found = describe_processor()
    assert {name for name in found.instruction_sets if name != "sse3"} <= {*words}
    assert ("avx2" in found.instruction_sets) == ("avx2" in words)


# --- on disk ---------------------------------------------------------------------------------------------------------


def test_an_environment_comes_back_from_its_bytes(environment: Environment) -> None:
    assert read_environment(environment_bytes(environment)) == environment


def test_what_is_captured_twice_is_the_same_bytes(environment: Environment) -> None:
    assert environment_bytes(EnvironmentCapture().environment()) == environment_bytes(capture_environment())
    assert environment_bytes(environment).startswith(b'{"encoding":')


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"format": "hokusai-environment/2"}, "hokusai-environment/2"),
        ({"host": "anna"}, "host"),
        ({"packages": [{"name": "a"}]}, "version"),
        ({"utc_offset_seconds": "0"}, "utc_offset_seconds"),
        ({"processor": None}, "processor"),
        ({"packages": [{"name": "a", "version": "1\n--no-index"}]}, "expected a name like"),
        ({"packages": [{"name": "a @ file:///b #", "version": "1"}]}, "expected a name like"),
        ({"packages": [{"name": "a", "version": "1", "origin": "archive", "revision": "\n-e ."}]}, "one line of text"),
        ({"python_version": "3\u20281"}, "one line of text"),
        ({"variables": {"TZ\x1b[2J": "UTC"}}, "one line of text"),
    ],
)
def test_what_is_no_environment_is_refused(change: dict[str, object], problem: str, environment: Environment) -> None:
    document = json.loads(environment_bytes(environment)) | change
    with pytest.raises(InvalidFactError, match=problem) as caught:
        read_environment(json.dumps(document).encode())
    assert caught.value.fact == "environment.json"


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"{}", b"3"])
def test_bytes_that_are_no_document_are_refused(content: bytes) -> None:
    with pytest.raises(InvalidFactError, match=r"environment\.json"):
        read_environment(content)


def test_the_kept_environment_of_version_1_stays_readable_and_its_page_describes_it() -> None:
    root = Path(__file__).parents[1]
    kept = (root / "golden" / "environment-1.json").read_bytes()
    environment = read_environment(kept)
    assert environment_bytes(environment) == kept
    assert environment.packages[1] == InstalledPackage(name="numpy", version="2.2.1")
    page = (root.parent / "docs" / "formats" / "environment.md").read_text(encoding="utf-8")
    assert f"```json\n{kept.decode()}\n```\n" in page
    parts = {"packages[]": InstalledPackage, "processor": Processor, "libraries[]": NumericalLibrary}
    fields = [f"{prefix}.{field.name}" for prefix, part in parts.items() for field in dataclasses.fields(part)]
    fields += [field.name for field in dataclasses.fields(Environment) if field.name != "processor"]
    assert [name for name in (*fields, *VARIABLES, *VARIABLES_OF_FOLDERS) if f"`{name}`" not in page] == []


# --- two of them -----------------------------------------------------------------------------------------------------


def differences(first: Environment, **changes: object) -> list[tuple[str, str, str, str]]:
    """Return what differs when some fields are changed."""
    found = compare_environments(first, dataclasses.replace(first, **changes))  # type: ignore[arg-type]
    return [(each.subject, each.first, each.second, each.effect) for each in found]


def test_equal_environments_differ_in_nothing(environment: Environment) -> None:
    assert compare_environments(environment, read_environment(environment_bytes(environment))) == ()


def test_packages_are_graded_by_what_they_do(environment: Environment) -> None:
    def packages(version: str, *names: str) -> tuple[InstalledPackage, ...]:
        return tuple(InstalledPackage(name=name, version=version) for name in names)

    first = dataclasses.replace(environment, packages=packages("1", "numpy", "rich", "scikit-learn"))
    assert differences(first, packages=packages("2", "numpy", "scikit-learn", "zope")) == [
        ("package scikit-learn", "1", "2", "surely"),
        ("package numpy", "1", "2", "possibly"),
        ("package rich", "1", "none", "hardly"),
        ("package zope", "none", "2", "hardly"),
    ]
    edited = (InstalledPackage(name="numpy", version="1", origin="repository", revision="0a0a0a0"),)
    found = differences(dataclasses.replace(first, packages=first.packages[:1]), packages=edited)
    assert found == [("package numpy", "1", "1 from repository 0a0a0a0", "possibly")]


def test_another_machine_is_possibly_another_result_and_another_place_hardly(environment: Environment) -> None:
    first = dataclasses.replace(
        environment, python_version="3.12.1", machine="x86_64", variables={"TZ": "UTC", "OMP_NUM_THREADS": "1"}
    )
    assert differences(first, python_version="3.12.9") == [("Python", "3.12.1", "3.12.9", "hardly")]
    assert differences(first, python_version="3.13.1") == [("Python", "3.12.1", "3.13.1", "possibly")]
    assert differences(first, machine="arm64") == [("machine", "x86_64", "arm64", "possibly")]
    sets = dataclasses.replace(first.processor, instruction_sets=("avx2",), logical_cores=999)
    assert [(subject, effect) for subject, _, _, effect in differences(first, processor=sets)] == [
        ("processor instruction sets", "possibly"),
        ("logical cores", "hardly"),
    ]
    assert ("BLAS libraries", "possibly") in [(found[0], found[3]) for found in differences(first, libraries=())]
    assert differences(first, variables={"TZ": "CET"}) == [
        ("variable OMP_NUM_THREADS", "1", "none", "possibly"),
        ("variable TZ", "UTC", "CET", "hardly"),
    ]
    zone = differences(first, time_zone=("IST",), utc_offset_seconds=-12_600)
    assert [(subject, second) for subject, _, second, _ in zone] == [("time zone", "IST UTC-03:30")]


def test_a_difference_of_any_field_is_found(environment: Environment) -> None:
    other: dict[str, object] = {
        "python_version": "0.0.0",
        "python_implementation": "Other",
        "packages": (),
        "system": "Other",
        "release": "0",
        "machine": "other",
        "libc": "other 1",
        "processor": dataclasses.replace(environment.processor, model="Other"),
        "libraries": (),
        "locale": {},
        "encoding": "other",
        "time_zone": ("Other",),
        "utc_offset_seconds": 1,
        "variables": {"TZ": "Other/Place"},
    }
    assert other.keys() == {field.name for field in dataclasses.fields(Environment)}
    for name, value in other.items():
        assert differences(environment, **{name: value}), name
