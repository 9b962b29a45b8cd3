"""The documentation does what it says: its code runs, its outputs are real, its lists are complete, its links lead on.

A block that follows a comment ``<!-- docs-test: … -->`` is treated as that says: ``not run (reason)``, ``output of
COMMAND``, ``an evaluation.toml``, or ``file NAME`` of a project that ``tests/testing/test_plugin.py`` runs. Every other
block of Python, console input, JSON or TOML is run or parsed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hokusai.config import PipelineConfig, load_config, setting_keys
from hokusai.digests import file_sha256
from hokusai.tracking.journal import JournalReader, staged_path
from hokusai.tracking.operations import OPERATIONS, CloseJournal, LogArtifact, LogModel, OpenJournal

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")))
TEMPLATE = ROOT / "src" / "hokusai" / "testing" / "penguins" / "evaluation.toml"
GOLDEN = ROOT / "tests" / "golden"

_FENCE = re.compile(
    r"(?:<!-- docs-test: (?P<mark>[^>]*) -->\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_LINK = re.compile(r"\]\((?!https?://)(?P<path>[^)#\s]*)(?:#(?P<anchor>[^)\s]*))?\)")
_RUN_BLOCKS = """
import json, sys
for name, line, text in json.load(sys.stdin):
    exec(compile("\\n" * line + text, name, "exec"), {"__name__": "__main__"})
    print("ran", name)
"""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page: where it stands, what it is, and how it is marked."""

    page: str
    line: int
    kind: str
    mark: str
    text: str


def blocks(kind: str, *, mark: str = "") -> list[Block]:
    """Return the blocks of one kind whose mark begins with ``mark``; without a mark, those that have none."""
    found = []
    for page in PAGES:
        content = page.read_text(encoding="utf-8")
        for match in _FENCE.finditer(content):
            line = content.count("\n", 0, match.start("text"))
            item = Block(str(page.relative_to(ROOT)), line, match["kind"], match["mark"] or "", match["text"])
            if item.kind == kind and (item.mark.startswith(mark) if mark else not item.mark):
                found.append(item)
    return found


def environment() -> dict[str, str]:
    """Return this process's environment without settings of ours or MLflow's, the tested command first on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HOKUSAI_", "MLFLOW_"))}
    return kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def call(*command: str, folder: Path, text: str | None = None) -> str:
    """Run a command that must succeed and return its output."""
    done = subprocess.run(
        command, cwd=folder, env=environment(), input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what ``hokusai init`` writes."""
    folder = tmp_path_factory.mktemp("project")
    call("hokusai", "init", folder=folder)
    return folder


def test_every_python_block_runs(project: Path) -> None:
    items = blocks("python")
    assert {"README.md", "docs/formats/row-scores.md"} <= {item.page for item in items}
    output = call(
        sys.executable,
        "-c",
        _RUN_BLOCKS,
        folder=project,
        text=json.dumps([(item.page, item.line, item.text) for item in items]),
    )
    assert output.count("ran ") == len(items)
    assert output.startswith("accept 0.2016")


@pytest.mark.parametrize("page", sorted({item.page for item in blocks("console")}))
def test_the_console_commands_of_a_page_work_one_after_the_other(page: str, tmp_path: Path) -> None:
    lines = [line for item in blocks("console") if item.page == page for line in item.text.splitlines()]
    assert all(line.startswith("$ ") for line in lines), "an output that is shown must be compared: mark the block"
    call("sh", "-e", "-c", "\n".join(line.removeprefix("$ ") for line in lines), folder=tmp_path)


def test_the_readme_shows_what_the_demo_prints(tmp_path: Path) -> None:
    (shown,) = blocks("text", mark="output of hokusai demo")
    assert _same_words(call("hokusai", "demo", folder=tmp_path)) == _same_words(shown.text)


def _same_words(output: str) -> list[str]:
    """Return an output's lines without trailing blanks, with one way to call the command and one run id."""
    text = re.sub(r"(?:\S*/)?bin/hokusai", "hokusai", output)
    return [line.rstrip() for line in re.sub(r"show [0-9a-f]{8}\b", "show RUN", text).strip().splitlines()]


def test_every_block_of_json_or_toml_can_be_read() -> None:
    items = [*blocks("json"), *blocks("json", mark="output"), *blocks("toml"), *blocks("toml", mark="an evaluation")]
    assert {item.kind for item in items} == {"json", "toml"}
    for item in items:
        value = json.loads(item.text) if item.kind == "json" else tomllib.loads(item.text)
        assert value, f"{item.page}, line {item.line}"


def test_the_evaluation_toml_of_the_readme_is_a_complete_configuration(project: Path) -> None:
    (shown,) = blocks("toml", mark="an evaluation.toml")
    path = project / "shown.toml"
    path.write_text(shown.text, encoding="utf-8")
    config = load_config(path, environment={}).config
    assert config.delta.minimum_gain == 0.01
    assert config.data.contributions[0].path == project / "dream.csv"


def test_every_block_is_marked_in_a_way_that_is_known() -> None:
    known = ("not run (", "file ", "output of hokusai demo", "output of hokusai run --json", "an evaluation.toml")
    marks = [match for page in PAGES for match in re.findall(r"<!-- docs-test: (.*?) -->", page.read_text("utf-8"))]
    assert marks
    assert [mark for mark in marks if not mark.startswith(known)] == []


def test_every_command_is_in_the_readme(tmp_path: Path) -> None:
    listed = call("hokusai", "--help", folder=tmp_path).partition("COMMAND\n")[2]
    commands = re.findall(r"^    (\w+)", listed, re.MULTILINE)
    assert "run" in commands
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in commands if f"| `hokusai {name}" not in readme] == []


def test_every_setting_is_in_the_template_at_its_default() -> None:
    documented = _template_settings()
    assert [key for key in setting_keys() if key not in documented and key != "data.contributions"] == []
    assert "data.contributions.path" in documented
    commented = {key: value for key, (value, is_default) in documented.items() if is_default}
    for key in setting_keys():
        default = _default(key)
        # No TOML value says "none"; the template's comment does.
        if key in commented and default is not None:
            assert (key, commented[key]) == (key, default)


def _template_settings() -> dict[str, tuple[Any, bool]]:
    """Return value and whether it is commented out, by key, of every setting in the template."""
    settings: dict[str, tuple[Any, bool]] = {}
    table = ""
    for line in TEMPLATE.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"\[+([\w.]+)\]+", line):
            table = f"{match[1]}."
        elif match := re.match(r"(# )?(\w+) = (.*)", line):
            settings[table + match[2]] = (tomllib.loads(f"value = {match[3]}")["value"], bool(match[1]))
    return settings


def _default(key: str) -> Any:
    """Return a setting's default as TOML can write it."""
    owner: Any = PipelineConfig
    *parents, name = key.split(".")
    for part in parents:
        owner = typing.get_type_hints(owner)[part]
    item = next(item for item in dataclasses.fields(owner) if item.name == name)
    value = item.default_factory() if item.default_factory is not dataclasses.MISSING else item.default
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value


def test_every_operation_of_the_journal_and_each_of_its_fields_is_described() -> None:
    page = (ROOT / "docs" / "formats" / "journal.md").read_text(encoding="utf-8")
    described = {
        match[1]: set(re.findall(r"`(\w+)`", match[2]))
        for match in re.finditer(r"^\| `(\w+)` \|([^|]*)\|", page, re.MULTILINE)
    }
    for name, kind in OPERATIONS.items():
        assert described.get(name) == {field.name for field in dataclasses.fields(kind)}, name


def test_the_report_in_the_docs_is_the_real_one_and_each_of_its_fields_is_described(project: Path) -> None:
    page = (ROOT / "docs" / "formats" / "delta.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^\| `([\w.\[\]]+)` \|", page, re.MULTILINE))
    (shown,) = blocks("json", mark="output of hokusai run --json")
    printed = json.loads(call("hokusai", "run", "--json", "--set", "evaluation.metrics=accuracy", folder=project))
    everything = json.loads(call("hokusai", "run", "--json", folder=project))
    assert everything["undefined"], "the demo's control never saw one class"
    assert set(_paths(everything)) == described
    _require_close(json.loads(shown.text) | {"evaluation": printed["evaluation"]}, printed)


def _paths(value: Any, prefix: str = "") -> Iterator[str]:
    """Yield the path of every field, ``deltas[].gain`` like, tables of their own left out."""
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _paths(inner, f"{prefix}{name}.")
            continue
        yield f"{prefix}{name}"
        for item in inner if isinstance(inner, list) else ():
            yield from _paths(item, f"{prefix}{name}[].")


def _require_close(expected: Any, got: Any) -> None:
    """Compare two JSON values; numbers may differ in their last digits from machine to machine."""
    if isinstance(expected, dict):
        assert list(expected) == list(got)
        for name, inner in expected.items():
            _require_close(inner, got[name])
    elif isinstance(expected, list):
        assert len(expected) == len(got)
        for left, right in zip(expected, got, strict=True):
            _require_close(left, right)
    elif isinstance(expected, float):
        assert got == pytest.approx(expected, rel=1e-9)
    else:
        assert got == expected


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_project_leads_somewhere(page: Path) -> None:
    broken = []
    for match in _LINK.finditer(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        target = page.parent / match["path"] if match["path"] else page
        is_there = target.exists() and (not match["anchor"] or match["anchor"] in _anchors(target))
        if not is_there:
            broken.append(match[0])
    assert broken == []


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_of_the_docs_is_in_their_table_of_contents_and_every_decision_is_dated() -> None:
    contents = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = [page for page in PAGES if page.parent.parent == ROOT / "docs"]
    assert len(pages) > 10
    assert [page.name for page in pages if f"]({page.relative_to(ROOT / 'docs')})" not in contents] == []
    shape = re.compile(
        r"# (\d+)\. .+\n\n\d{4}-\d\d-\d\d, \w+.*\n\n## Context\n.+\n## Decision\n.+\n## Consequences\n", re.DOTALL
    )
    for page in pages:
        if page.parent.name == "adr":
            match = shape.match(page.read_text(encoding="utf-8"))
            assert match, page.name
            assert int(match[1]) == int(page.name[:4])


def test_the_layout_in_the_contributors_guide_names_every_module_and_no_other() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tree = next(item.text for item in blocks("text") if item.text.startswith("src/hokusai/"))
    package = ROOT / "src" / "hokusai"
    modules = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if path.name != "__init__.py" and path.parent.name != "cli"
    }
    named, folder = set(), ""
    for line in tree.splitlines():
        if match := re.match(r"[├└]── (\w+)/", line):
            folder = f"{match[1]}/"
        elif match := re.match(r"(│?)\s*[├└]── (\w+\.py)", line):
            named.add((folder if match[1] else "") + match[2])
    assert named == modules
    assert [str(step) for step in sorted(modules) if step.startswith("steps/") and f"`{step}`" not in page] == []


def test_every_make_target_that_is_spoken_of_is_there_and_every_target_is_in_the_help() -> None:
    if shutil.which("make") is None:
        pytest.skip("no make here")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split())
    helped = set(re.findall(r"^  make (\w+)", call("make", "help", folder=ROOT), re.MULTILINE))
    assert helped == targets
    in_prose = [name for page in PAGES for name in re.findall(r"`make (\w+)", page.read_text("utf-8"))]
    lines = [*blocks("text"), *blocks("console"), *blocks("console", mark="not run")]
    in_blocks = [name for item in lines for name in re.findall(r"^(?:\$ )?make (\w+)", item.text, re.MULTILINE)]
    spoken = {*in_prose, *in_blocks}
    assert {"demo", "lint"} <= spoken
    assert spoken <= targets


def test_the_kept_journal_of_version_1_stays_readable() -> None:
    folder = GOLDEN / "journal-1"
    reader = JournalReader(folder)
    operations = [entry.operation for entry in reader.read_new()]
    assert {type(operation) for operation in operations} == set(OPERATIONS.values())
    assert isinstance(operations[0], OpenJournal)
    assert operations[0].format == "hokusai-journal/1"
    assert isinstance(operations[-1], CloseJournal)
    assert reader.sequence == 81
    assert reader.link == _last_link(folder)
    for operation in operations:
        if isinstance(operation, LogArtifact | LogModel):
            file = staged_path(folder, operation.sha256)
            assert (file_sha256(file), file.stat().st_size) == (operation.sha256, operation.size)


def _last_link(folder: Path) -> str:
    """Return the SHA-256 of the last line of a journal, worked out as its page says."""
    *_, last, end = (folder / "journal.jsonl").read_bytes().split(b"\n")
    assert end == b""
    return hashlib.sha256(last).hexdigest()


def test_the_kept_journal_of_version_1_can_still_be_shipped(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "journal-1", tmp_path / "journal-1")
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    said = call("hokusai", "sync", "journal-1", "--tracking-uri", store, folder=tmp_path)
    assert "(81 entries, 6 runs)" in said
    shown = call("hokusai", "runs", "--tracking-uri", store, folder=tmp_path)
    assert "FINISHED" in shown
    assert "not enough evidence" in shown


def test_the_kept_report_of_version_1_has_no_field_that_is_not_described_any_more() -> None:
    kept = json.loads((GOLDEN / "delta-1.json").read_bytes())
    assert kept["format"] == "hokusai-delta/1"
    page = (ROOT / "docs" / "formats" / "delta.md").read_text(encoding="utf-8")
    assert [path for path in _paths(kept) if f"| `{path}` |" not in page] == []
