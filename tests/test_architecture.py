"""The shape of the package: layers, doors, names, and what an import may cost."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import json
import re
import subprocess
import sys
import warnings
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import hokusai
from hokusai import errors
from hokusai.tracking.naming import STEPS

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parent.parent
PACKAGE = Path(hokusai.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
SLOW_LIBRARIES = ["mlflow", "sklearn", "pandas", "numpy", "pyarrow", "pydantic", "rich", "scipy", "skops", "sqlalchemy"]
TREES = {path.relative_to(PACKAGE): ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
CLASSES = [(path, node) for path, tree in TREES.items() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


def module_name(path: Path) -> str:
    return ".".join(("hokusai", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def python(code: str, *arguments: str, cwd: Path) -> str:
    """Run code in a fresh interpreter, which keeps nothing of what it compiles, and return what it prints."""
    command = [sys.executable, "-B", "-c", code, *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- layers and doors ------------------------------------------------------------------------------------------------


def test_the_layers_and_the_doors_to_vendors_are_kept() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("library", "doors"),
    [
        (
            "mlflow",
            {
                "tracking/mlflow_client.py",
                "tracking/mlflow_ledger.py",
                "tracking/mlflow_reader.py",
                "tracking/model_folder.py",
                "tracking/stored_values.py",
                "models/mlflow_aliases.py",
                "models/mlflow_models.py",
                "models/mlflow_registry.py",
                # The types of what the door hands over, for the type check alone.
                "models/model_runs.py",
                "models/model_versions.py",
                "models/stored_files.py",
            },
        ),
        ("cryptography", {"provenance/signing_keys.py"}),
    ],
)
def test_a_vendor_is_imported_by_its_door_alone(library: str, doors: set[str]) -> None:
    importers = set()
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            if any(name.split(".")[0] == library for name in names):
                importers.add(path.as_posix())
    # What is shipped for tests starts servers of its own.
    assert {path for path in importers if not path.startswith("testing/")} == doors


def test_nobody_inside_imports_the_package_itself() -> None:
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert "hokusai" not in [alias.name for alias in node.names], path
            if isinstance(node, ast.ImportFrom):
                modules = {each.stem if each.parent == PACKAGE else each.name for each in PACKAGE.iterdir()}
                assert node.module != "hokusai" or {alias.name for alias in node.names} <= modules, path
                assert node.level == 0, path


def test_mlflows_active_run_and_global_address_are_never_used() -> None:
    fluent = re.compile(r"log_\w+|start_run|end_run|active_run|set_\w+|autolog")
    # MLflow's registry on SQL looks models up at the global address: there it is set for a moment, and put back.
    allowed = {("tracking/mlflow_client.py", "set_tracking_uri")}
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "mlflow":
                is_allowed = (path.as_posix(), node.attr) in allowed
                assert is_allowed or not fluent.fullmatch(node.attr), f"{path}:{node.lineno}"
            if isinstance(node, ast.ImportFrom) and node.module in ("mlflow", "mlflow.tracking.fluent"):
                imported = [alias.name for alias in node.names]
                assert not any(map(fluent.fullmatch, imported)), f"{path}:{node.lineno}"


def test_only_commands_print() -> None:
    for path, tree in TREES.items():
        if path.parts[0] == "cli":
            continue
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
        assert not [f"{path}:{call.lineno}" for call in calls if getattr(call.func, "id", "") == "print"]


def test_no_group_is_repeated_possessively() -> None:
    # Python 3.11.0 to 3.11.3 stop such a repeat behind the repeat that failed; an atomic group says the same.
    found = [(path, text) for path in SOURCES for text in re.findall(r"\)[*+?]\+.*", path.read_text(encoding="utf-8"))]
    assert found == []


def test_no_global_is_rebound() -> None:
    assert not [path for path, tree in TREES.items() for node in ast.walk(tree) if isinstance(node, ast.Global)]


# --- names -----------------------------------------------------------------------------------------------------------


def test_no_module_is_a_drawer_for_leftovers() -> None:
    drawer = re.compile(r"(^|_)(utils?|helpers?|common|misc|manager|enhanced|improved|new|v2)(_|$)")
    assert not [path for path in TREES if drawer.search(path.stem)]


def test_no_class_name_is_defined_twice() -> None:
    counts = Counter(node.name for _, node in CLASSES)
    assert [name for name, count in counts.items() if count > 1] == []


def test_every_module_says_what_it_is_for() -> None:
    assert [path for path, tree in TREES.items() if not ast.get_docstring(tree)] == []


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_a_list_of_public_names_is_complete_and_true(path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):  # MLflow warns while it is imported
        module: Any = importlib.import_module(module_name(path))
    public = getattr(module, "__all__", None)
    if public is None:
        assert path.name == "__init__.py"
        return
    constants = [name for name in public if name.isupper()]
    classes = [name for name in public if name not in constants and name[0].isupper()]
    functions = [name for name in public if name not in constants and name not in classes]
    assert list(public) == sorted(constants) + sorted(classes) + sorted(functions)
    assert all(hasattr(module, name) for name in public)
    # Private to the package may still be used across modules; a public class or function that is made here is listed.
    tree = TREES[path.relative_to(PACKAGE)]
    made_here = {node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    assert made_here & imported_names()[module_name(path)] <= set(public)


@functools.cache
def imported_names() -> Mapping[str, set[str]]:
    """Return by module the names that any module of the package imports from it."""
    names: defaultdict[str, set[str]] = defaultdict(set)
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                names[node.module] |= {alias.name for alias in node.names}
    return names


def test_every_public_name_of_the_package_can_be_had() -> None:
    assert dir(hokusai) == sorted(hokusai.__all__)
    for name in hokusai.__all__:
        value = getattr(hokusai, name)
        assert value.__name__ == name
        assert value.__module__ == hokusai._HOMES[name]
    assert set(hokusai._HOMES) == set(hokusai.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = hokusai.nothing


# --- the story -------------------------------------------------------------------------------------------------------


def test_the_pipeline_calls_each_step_once_and_in_order_in_a_run_of_its_name() -> None:
    tree = TREES[Path("pipeline.py")]
    story = next(
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "evaluate_contribution"
    )
    called = [
        (node.lineno, node.func.id)
        for node in ast.walk(story)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in STEPS
    ]
    assert tuple(name for _, name in sorted(called)) == STEPS
    opened = [
        (node.lineno, node.args[0].value)
        for node in ast.walk(story)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "child"
        and isinstance(node.args[0], ast.Constant)
    ]
    assert tuple(name for _, name in sorted(opened)) == STEPS
    # The story has no branch: a rehearsal is another composition.
    assert not [node for node in ast.walk(story) if isinstance(node, (ast.If, ast.IfExp, ast.Try))]


def test_each_step_is_the_one_public_function_named_after_a_child_run_in_its_file() -> None:
    files = ("baseline_loader", "data_integration", "model_training", "evaluation", "delta_computation")
    for name, file in zip(STEPS, files, strict=True):
        step = getattr(importlib.import_module(f"hokusai.steps.{file}"), name)
        parameters = list(inspect.signature(step).parameters.values())
        assert "run" in [parameter.name for parameter in parameters]
        assert [each for each in parameters if each.kind is not inspect.Parameter.KEYWORD_ONLY] == parameters[:1]


# --- errors and protocols --------------------------------------------------------------------------------------------


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    drawn: dict[str, str] = {}
    ancestors: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"([\s│├└─]*)(\w+Error)\b", line):
            depth = (len(match[1]) - 4) // 4
            ancestors[depth:] = [match[2]]
            drawn[match[2]] = ancestors[depth - 1] if depth else "Exception"
    classes = {name: value for name, value in vars(errors).items() if inspect.isclass(value)}
    assert drawn == {name: value.__mro__[1].__name__ for name, value in classes.items()}
    assert sorted(drawn) == list(errors.__all__)
    assert all(issubclass(value, errors.HokusaiError) for value in classes.values())


def test_whatever_is_raised_on_purpose_is_of_our_tree() -> None:
    # AttributeError and KeyError are what Python's own protocols ask for in __getattr__ and in a look-up by name;
    # a ValueError in these files is a mistake of the code that calls them, which no user can make.
    with_preconditions = {
        *(Path("analysis", path.name) for path in (PACKAGE / "analysis").glob("*.py")),
        Path("steps/decision.py"),
        Path("datasets/croissant.py"),  # its reader turns them into one DataError
        Path("datasets/logical_types.py"),
        Path("datasets/reader_frames.py"),  # likewise
        Path("datasets/reader_handle.py"),  # what another process sent wrongly; its reader turns it into a DataError
        Path("digests.py"),
        Path("models/lightgbm_text.py"),  # likewise, into a ModelError
        Path("models/model_signatures.py"),
        Path("models/onnx_structure.py"),
        Path("models/skops_schema.py"),
        Path("models/sound_parts.py"),
        Path("models/xgboost_document.py"),
        Path("provenance/decimals.py"),
        Path("provenance/envelopes.py"),
        Path("provenance/merkle.py"),
        Path("provenance/statement.py"),
    }
    # A function that cannot be a step is refused where it is written, as Python refuses a wrong call.
    with_decorators = {Path("own_pipeline.py")}
    for path, tree in TREES.items():
        own = {*errors.__all__, "AttributeError", "KeyError", *(["ValueError"] if path in with_preconditions else [])}
        own |= {"TypeError"} if path in with_decorators else set()
        # What a failed test raises, and what a test that uses the kit wrongly meets.
        own |= {"AssertionError", "RuntimeError"} if path.parts[0] == "testing" else set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
                name = node.exc.func.id
                assert name in own or name[0] == "_" or not name.endswith("Error"), (
                    f"{path}:{node.lineno} raises {name}"
                )


def test_every_error_class_of_the_package_stands_in_the_one_tree() -> None:
    # One that begins with an underscore never leaves its module.
    elsewhere = [node.name for path, node in CLASSES if re.match("[A-Z].*Error$", node.name) and path.stem != "errors"]
    assert elsewhere == []


def test_a_protocol_has_at_most_five_methods_and_each_states_its_promise() -> None:
    protocols = [
        node for _, node in CLASSES if any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)
    ]
    assert {"Journal", "FittedModel", "RunListener"} <= {node.name for node in protocols}
    for node in protocols:
        methods = [each for each in node.body if isinstance(each, ast.FunctionDef)]
        assert 1 <= len(methods) <= 5, node.name
        assert ast.get_docstring(node), node.name
        assert all(ast.get_docstring(each) for each in methods), node.name


def test_settings_and_records_are_frozen() -> None:
    for path, node in CLASSES:
        if path.parts[0] != "records" and not node.name.endswith(("Settings", "Parameters", "Config")):
            continue
        if any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases):
            continue
        decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
        assert any("frozen=True" in text for text in decorators), f"{path}: {node.name}"


# --- what an import costs --------------------------------------------------------------------------------------------

_LOADED = (
    "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})), file=sys.stderr)"
)


@pytest.mark.parametrize(
    "arguments",
    [
        ("-c", f"import hokusai; {_LOADED}"),
        ("-c", f"import atexit, hokusai.cli; atexit.register(lambda: exec({_LOADED!r})); hokusai.cli.main(['--help'])"),
        (
            "-c",
            f"import atexit, hokusai.cli; atexit.register(lambda: exec({_LOADED!r})); hokusai.cli.main(['run', '-h'])",
        ),
    ],
    ids=["import", "--help", "run --help"],
)
def test_starting_up_loads_no_slow_library(arguments: tuple[str, ...], tmp_path: Path) -> None:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    loaded = json.loads(done.stderr.splitlines()[-1])
    assert "hokusai" in loaded
    assert set(loaded) & set(SLOW_LIBRARIES) == set()


# Importing a third-party library may do what it likes; what counts is what happens while our own code is on top.
_IMPORT_ALL = """
import importlib, json, os, sys, threading
package = sys.argv[1]
names = sys.argv[2:]
for vendor in "mlflow pandas sklearn pydantic rich pyarrow scipy skops.io filelock rfc8785".split():
    importlib.import_module(vendor)
from mlflow import MlflowClient
from mlflow.models import Model
import mlflow.pyfunc, mlflow.sklearn, sqlalchemy, requests, yaml, rich.progress, rich.table
done = []
watching = False
def hook(event, arguments):
    if not watching:
        return
    if event == "open":
        path, mode, flags = arguments
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and "__pycache__" not in str(path):
            done.append(f"open {path}")
    elif event in ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.putenv",
                   "os.unsetenv", "os.chdir", "subprocess.Popen", "socket.connect", "socket.bind", "os.fork",
                   "socket.getaddrinfo", "sqlite3.connect", "os.posix_spawn"):
        done.append(f"{event} {arguments}")
sys.addaudithook(hook)
threads = threading.active_count()
for name in names:
    watching = True
    importlib.import_module(name)
    watching = False
    if threading.active_count() > threads:
        done.append(f"{name} starts a thread")
print(json.dumps(done))
"""


def test_importing_the_modules_touches_no_disk_no_network_and_no_environment(tmp_path: Path) -> None:
    names = [module_name(path) for path in SOURCES if path.name != "__main__.py"]
    environment_default = "os.putenv (b'MLFLOW_DISABLE_TELEMETRY', b'true')"
    done = json.loads(python(_IMPORT_ALL, str(PACKAGE), *names, cwd=tmp_path).splitlines()[-1])
    # MLflow reads its telemetry switch while it is imported, so it has to be off before; nothing else is changed.
    assert set(done) <= {environment_default}
    assert list(tmp_path.iterdir()) == []


def test_the_watch_over_imports_sees_what_it_is_there_for(tmp_path: Path) -> None:
    (tmp_path / "culprit.py").write_text(
        "import os, socket\nopen('made.txt', 'w').close()\nos.environ['CULPRIT'] = '1'\n"
        "socket.socket().connect_ex(('127.0.0.1', 9))\n",
        encoding="utf-8",
    )
    done = json.loads(python(_IMPORT_ALL, str(PACKAGE), "culprit", cwd=tmp_path).splitlines()[-1])
    assert [text.split()[0] for text in done] == ["open", "os.putenv", "socket.connect"]
