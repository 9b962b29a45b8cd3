"""What real runs record of their surroundings, read back from their journals."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

import hokusai
from hokusai.configuration_document import build_config, file_keys, read_configuration
from hokusai.digests import sha256
from hokusai.provenance.environment import capture_environment, read_environment
from hokusai.provenance.environment_comparison import compare_environments
from hokusai.testing.sample_data import penguins_folder
from hokusai.tracking.journal import JournalReader, staged_path
from hokusai.tracking.naming import OWN_CODE_DIFFERENCES_TAG, OWN_CODE_TAG
from hokusai.tracking.operations import LogArtifact, SetTags

if TYPE_CHECKING:
    from pathlib import Path

CONFIGURATION = """\
project = "penguins"
[data]
base = "base.csv"
benchmark = "benchmark.csv"
label = "species"
[[data.contributions]]
path = "dream.csv"
[training]
estimator = "own_surroundings_trainer:make"
parameters = { C = 1.0 }
workers = 1
[[evaluation.own_metrics]]
name = "own"
function = "own_surroundings_metric:share"
higher_is_better = true
"""
TRAINER = "from sklearn.linear_model import LogisticRegression\n\ndef make(C):\n    return LogisticRegression(C=C)\n"
METRIC = "def share(actual, predicted):\n    return (actual == predicted).mean()\n"


def recorded(journals: Path) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the artifacts and the tags of the parent run of the only journal in a folder."""
    (folder,) = [path.parent for path in journals.glob("*/journal.jsonl")]
    operations = [entry.operation for entry in JournalReader(folder)]
    files = [each for each in operations if isinstance(each, LogArtifact) and each.run == folder.name]
    tags = [each.tags for each in operations if isinstance(each, SetTags) and each.run == folder.name]
    contents = {each.path: staged_path(folder, each.sha256).read_bytes() for each in files}
    return contents, {name: value for each in tags for name, value in each.items()}


@pytest.fixture
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "HOKUSAI_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_empty_folder")
@pytest.mark.skipif(shutil.which("git") is None, reason="no git here")
def test_an_evaluation_records_settings_environment_and_code_from_which_it_can_be_done_again(tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(penguins_folder(), project)
    texts = {"evaluation.toml": CONFIGURATION, "own_surroundings_trainer.py": TRAINER}
    for name, text in {**texts, "own_surroundings_metric.py": "# nothing yet\n"}.items():
        (project / name).write_text(text, encoding="utf-8")
    person = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    for arguments in (("init", "-q"), ("add", "."), ("commit", "-qm", "first")):
        subprocess.run(["git", *person, *arguments], cwd=project, check=True)
    (project / "own_surroundings_metric.py").write_text(METRIC, encoding="utf-8")
    report = hokusai.run(project / "evaluation.toml")
    files, tags = recorded(project / ".hokusai")

    settings = read_configuration(files["configuration.json"])
    again = build_config(settings, files={key: project / name for key, name in file_keys(settings).items()})
    assert again.training == hokusai.TrainingSettings(
        estimator="own_surroundings_trainer:make", parameters={"C": 1.0}, workers=1
    )
    assert str(tmp_path).encode() not in files["configuration.json"] + files["environment.json"]

    # Hardly: the packages of a machine on which something else is installed in the meantime.
    changes = compare_environments(read_environment(files["environment.json"]), capture_environment())
    assert [each for each in changes if each.effect != "hardly"] == []
    assert b"\nnumpy==" in files["requirements.txt"]

    sources = {name: content for name, content in files.items() if name.startswith("code/")}
    assert sources == {
        "code/own_surroundings_trainer.py": TRAINER.encode(),
        "code/own_surroundings_metric.py": METRIC.encode(),
    }
    modules = {name.removeprefix("code/").removesuffix(".py"): sha256(content) for name, content in sources.items()}
    assert json.loads(tags[OWN_CODE_TAG]) == modules
    assert tags[OWN_CODE_DIFFERENCES_TAG] == "complete"
    assert b"\n+def share(actual, predicted):\n" in files["uncommitted.diff"]
    assert report.tracking is not None
    assert report.tracking.shipped


@pytest.mark.usefixtures("_empty_folder")
def test_a_run_of_a_pipeline_of_ones_own_records_its_environment_even_when_it_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), hokusai.track("words"):
        _ = 1 / 0
    files, _ = recorded(tmp_path / ".hokusai")
    assert files.keys() == {"environment.json", "requirements.txt", "traceback.txt"}
    assert read_environment(files["environment.json"]).packages
