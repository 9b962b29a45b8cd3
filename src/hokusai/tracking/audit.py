"""Is what MLflow holds what the journal recorded?

:func:`audit_run` reads both sides and compares them: :mod:`hokusai.tracking.recorded_facts` says what was recorded,
:mod:`hokusai.tracking.mlflow_reader` what is there, :mod:`hokusai.tracking.run_comparison` compares a run with a run.
It writes nothing. Of the project's other code it shares pure functions alone: names and values as MLflow takes them,
the manifest, the texts of parameters.

Whatever cannot be vouched for is a difference: a fact that has not been shipped, a journal that is damaged, and a run
without a journal, unless the caller has said that there is none.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hokusai.digests import canonical_json, file_sha256, sha256
from hokusai.errors import JournalError, RunNotFoundError
from hokusai.tracking import artifacts, naming
from hokusai.tracking.journal import JOURNAL_FILE, JournalReader, find_journals, staged_path
from hokusai.tracking.mlflow_config import redact_credentials, require_store
from hokusai.tracking.mlflow_names import to_mlflow_name
from hokusai.tracking.operations import OpenJournal, ResumeRun
from hokusai.tracking.recorded_facts import JournalFacts, Record, RunFacts, put_all
from hokusai.tracking.run_comparison import Difference, Evaluation, Findings, RunComparison, file_text
from hokusai.tracking.shipper import read_shipping_state

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from hokusai.digests import JsonValue
    from hokusai.tracking.mlflow_config import TrackingSettings
    from hokusai.tracking.mlflow_reader import FoundRun, MlflowReader
    from hokusai.tracking.run_comparison import Reason
    from hokusai.tracking.shipper import ShippingState

__all__ = ["AuditReport", "Difference", "audit_run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What an audit looked at, and what it found.

    Attributes:
        run: Name, id or key of the run, as it was asked for.
        store: The tracking store, without credentials.
        journal: The journal's folder, or None when the audit had none; of several that go on with one evaluation the
            one that began it, or the first that was there.
        journals: All of them.
        checked: How many facts of each kind were compared.
        differences: What is not as it was recorded, the journal's own first, then run by run.
    """

    run: str
    store: str
    journal: Path | None
    journals: tuple[Path, ...]
    checked: Mapping[str, int]
    differences: tuple[Difference, ...]

    @property
    def ok(self) -> bool:
        """Whether MLflow holds everything that was recorded, as it was recorded, and nothing else."""
        return not self.differences

    @property
    def edits(self) -> tuple[Difference, ...]:
        """The differences without the facts that only have not been shipped yet."""
        return tuple(item for item in self.differences if item.reason != "not shipped")


def audit_run(
    settings: TrackingSettings, run: str, *, journal: Path | None = None, without_journal: bool = False
) -> AuditReport:
    """Compare what MLflow holds of a run, and of every run recorded below it, with what the journal recorded.

    Args:
        settings: Where MLflow is, and where the journals are.
        run: A run id, its first characters, a run name or a run key; deleted runs are found as well.
        journal: The journal's folder; default None: the evaluation's journals below ``settings.journal``.
        without_journal: Look for no journal; check MLflow's own record against the digests that it keeps.

    Raises:
        RunNotFoundError: Neither MLflow nor a journal knows the run.
        TrackingServerError: The store does not answer.
        TrackingError: There is no such store.
        JournalError: The given folder holds no journal.
    """
    uri = require_store(settings)
    if journal is not None and not (journal / JOURNAL_FILE).is_file():
        msg = f"{journal}: no journal here, expected a folder with {JOURNAL_FILE}."
        raise JournalError(msg)
    from hokusai.tracking.mlflow_reader import MlflowReader  # imports MLflow

    store = MlflowReader(uri, registry_uri=settings.registry_uri, request_seconds=settings.request_seconds)
    known = () if without_journal else find_journals(settings.journal) if journal is None else (journal,)
    place = _locate(store, run, known, given=journal)
    folders = tuple(folder for folder in known if folder == journal or _evaluation_of(folder) == place.evaluation)
    audit = _Audit(store, place, folders)
    audit.compare(needs_journal=not without_journal, where=settings.journal)
    return AuditReport(
        run=run,
        store=redact_credentials(uri),
        journal=folders[0] if folders else None,
        journals=folders,
        checked={str(kind): count for kind, count in audit.findings.checked.items()},
        differences=tuple(audit.findings.differences),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Which run is meant: its evaluation, its key, and its id in MLflow; what is unknown is empty."""

    evaluation: str
    key: str
    run_id: str


def _locate(store: MlflowReader, run: str, folders: Sequence[Path], *, given: Path | None) -> _Place:
    found = store.find_anywhere(run) if run else None
    own = "" if given is None else _evaluation_in(given)
    # A journal's note of where its runs went says more than tags, which somebody may have edited.
    for folder in folders:
        state = read_shipping_state(folder)
        for key, run_id in (state.run_ids if state and state.store == store.uri else {}).items():
            if run_id == found.run_id if found else run and run_id.startswith(run):
                return _Place(evaluation=own or _evaluation_of(folder), key=key, run_id=run_id)
    if found is not None:
        key = found.tags.get(naming.RUN_KEY_TAG, "")
        evaluation = own or found.tags.get(naming.EVALUATION_TAG, "") or key.partition(":")[0]
        return _Place(evaluation=evaluation, key=key, run_id=found.run_id)
    evaluation = run.partition(":")[0]
    if run and evaluation in {own, *map(_evaluation_of, folders)}:
        return _Place(evaluation=evaluation, key=run, run_id="")
    raise RunNotFoundError(run, store=store.uri)


def _evaluation_of(folder: Path) -> str:
    """Return the evaluation that a folder below the folder of journals belongs to, by its name."""
    return folder.name.partition(".")[0]


def _evaluation_in(folder: Path) -> str:
    """Return the evaluation that a journal names, wherever its folder has been copied to."""
    try:
        entries = JournalReader(folder).read_new()
    except JournalError:
        return _evaluation_of(folder)
    first = entries[0].operation if entries else None
    return first.evaluation if isinstance(first, OpenJournal) else _evaluation_of(folder)


class _Audit:
    """One comparison, and what it has found so far."""

    def __init__(self, store: MlflowReader, place: _Place, folders: Sequence[Path]) -> None:
        self.findings = Findings()
        self._store = store
        self._place = place
        self._folders = folders
        self._record = Record()

    def compare(self, *, needs_journal: bool, where: Path) -> None:
        """Find every difference."""
        noted: dict[str, str] = {}
        for folder in self._folders:
            if state := self._note_of(folder):
                noted |= state.run_ids
        known = {*noted.values(), *filter(None, [self._place.run_id])}
        runs = self._store.runs_of(self._place.evaluation, known_ids=known)
        parents = [run for run in runs if run.tags.get(naming.RUN_KEY_TAG) == self._place.evaluation]
        for folder in self._folders:
            self._record.read(folder, confirmed=self._confirmed(folder, parents))
        if not self._folders and needs_journal:
            self.findings.add("journal", "", "missing", found=f"no journal of it in {where}")
        for journal in self._record.journals:
            self._check_journal(journal, parents)
        if self._folders and not any(journal.damage for journal in self._record.journals):
            self._compare_with_journals(runs, noted)
        else:
            self._compare_with_own_record(runs)

    # The journals themselves.

    def _note_of(self, folder: Path) -> ShippingState | None:
        state = read_shipping_state(folder)
        return state if state is not None and state.store == self._store.uri else None

    def _confirmed(self, folder: Path, parents: Sequence[FoundRun]) -> float:
        """Return the number of the last line that MLflow has, as the note beside the journal or MLflow itself says."""
        state = self._note_of(folder)
        if state and state.complete:
            return math.inf
        try:
            entries = JournalReader(folder).read_new()
        except JournalError:
            entries = []
        part = next((entry.operation.part for entry in entries if isinstance(entry.operation, ResumeRun)), "")
        # The shipper sets this tag when it has come to the journal's end.
        if any(artifacts.of_part(naming.JOURNAL_HEAD_TAG, part) in run.tags for run in parents):
            return math.inf
        return state.confirmed if state else 0

    def _check_journal(self, journal: JournalFacts, parents: Sequence[FoundRun]) -> None:
        self.findings.checked["journal"] += 1
        name, last = journal.folder.name, journal.last.sequence if journal.last else 0
        state = read_shipping_state(journal.folder)
        if journal.damage:
            recorded = "a whole chain of lines"
            self.findings.add("journal", name, "damaged", recorded=recorded, found=journal.damage)
        elif state and state.confirmed > last:
            recorded = f"{state.confirmed} lines that were shipped"
            self.findings.add("journal", name, "damaged", recorded=recorded, found=f"{last} lines")
        elif journal.last and journal.confirmed == math.inf and parents:
            # Where the shipper has come to the journal's end, the number and the digest of the last line are a tag.
            recorded, found = f"{last}:{journal.last.link}", parents[0].tags.get(journal.head_tag, "")
            if found != recorded:
                reason: Reason = "changed" if found else "missing"
                self.findings.add("journal", journal.head_tag, reason, recorded=recorded, found=found)
        if last > journal.confirmed:
            recorded = f"lines {int(journal.confirmed) + 1} to {last}"
            self.findings.add("journal", name, "not shipped", recorded=recorded)
        self._check_staged_files(journal)

    def _check_staged_files(self, journal: JournalFacts) -> None:
        for digest, size in journal.staged.items():
            self.findings.checked["staged file"] += 1
            file = staged_path(journal.folder, digest)
            recorded = file_text(digest, size)
            try:
                found = file_text(file_sha256(file), file.stat().st_size)
            except FileNotFoundError:
                self.findings.add("staged file", digest, "missing", recorded=recorded)
                continue
            except OSError as error:
                found = f"cannot be read ({error.strerror})"
            if found != recorded:
                self.findings.add("staged file", digest, "changed", recorded=recorded, found=found)

    # Runs, against the journals.

    def _compare_with_journals(self, runs: Sequence[FoundRun], noted: Mapping[str, str]) -> None:
        wanted = self._record.below(self._place.key)
        if not wanted:
            self.findings.add("run", self._place.key, "added", key=self._place.key, found=self._place.run_id)
        pairs, others = _match(wanted, self._record.runs, runs, noted)
        models = {key: self._store.models_of(found) for key, found in pairs.items()}
        evaluation = Evaluation(key=self._place.evaluation, record=self._record, runs=pairs, models=models)
        for facts in wanted:
            self.findings.checked["run"] += 1
            found = pairs.get(facts.key)
            if found is None:
                reason: Reason = "missing" if facts.is_shipped else "not shipped"
                self.findings.add("run", facts.name, reason, run=facts.name, key=facts.key, recorded=facts.key)
                continue
            comparison = RunComparison(self._store, self.findings, evaluation=evaluation, facts=facts, found=found)
            experiment, is_archived = self._store.experiment_state(found.experiment_id)
            if found.is_deleted and not is_archived:
                comparison.differ("run", facts.name, "deleted", recorded="there", found=found.run_id)
            comparison.compare(experiment=experiment)
        keys = {facts.key for facts in wanted}
        ids = {pairs[key].run_id for key in keys if key in pairs}
        for run in others:
            key = run.tags.get(naming.RUN_KEY_TAG, "")
            is_below = self._place.key == self._place.evaluation or key in keys or run.parent_id in ids
            # The shipper deletes runs that a server has made twice.
            if is_below and not run.is_deleted:
                reason = "doubled" if key in self._record.runs else "added"
                recorded = pairs[key].run_id if key in pairs else ""
                self.findings.add("run", run.name, reason, run=run.name, key=key, recorded=recorded, found=run.run_id)

    # Runs, against the digests that MLflow itself keeps.

    def _compare_with_own_record(self, runs: Sequence[FoundRun]) -> None:
        evaluation = Evaluation(key=self._place.evaluation, record=Record(), runs={}, models={})
        for run in runs:
            if self._place.key != self._place.evaluation and run.run_id != self._place.run_id:
                continue
            facts = RunFacts(run.tags.get(naming.RUN_KEY_TAG, ""), name=run.name)
            comparison = RunComparison(self._store, self.findings, evaluation=evaluation, facts=facts, found=run)
            self.findings.checked["run"] += 1
            if run.is_deleted and not self._store.experiment_state(run.experiment_id)[1]:
                comparison.differ("run", run.name, "deleted", recorded="there", found=run.run_id)
            _OwnRecord(self._store, self.findings, comparison, run).compare()


class _OwnRecord:
    """A run without its journal: what can be told from the digests that are tags of it."""

    def __init__(self, store: MlflowReader, findings: Findings, comparison: RunComparison, run: FoundRun) -> None:
        self._store = store
        self._checked = findings.checked
        self._comparison = comparison
        self._run = run
        self._files = store.files_of(run.location)

    def compare(self) -> None:
        """Find every difference that the digests show."""
        manifests = self._signed(artifacts.MANIFEST_FILE, naming.MANIFEST_DIGEST_TAG)
        listed: dict[str, list[tuple[str, object]]] = {}
        for manifest in manifests.values():
            for item in _objects(manifest, "artifacts"):
                listed.setdefault(str(item["path"]), []).append((str(item["sha256"]), item["size"]))
        self._compare_parameters()
        # The manifest is written when a run ends.
        if manifests or self._run.end_time is not None:
            self._compare_artifacts(listed, added=self._files.keys() - listed.keys() - manifests.keys())
        self._compare_models([item for manifest in manifests.values() for item in _objects(manifest, "models")])

    def _signed(self, file: str, tag: str) -> dict[str, dict[str, JsonValue]]:
        """Return the JSON objects in the artifacts whose digests tags hold, one of each process, by path."""
        tags = self._run.tags
        parts = {name[len(tag) + 1 :] for name in tags if name == tag or name.startswith(f"{tag}.")}
        found: dict[str, dict[str, JsonValue]] = {}
        for part in sorted(parts | ({""} if file in self._files else set())):
            path, recorded = artifacts.of_part(file, part), tags.get(artifacts.of_part(tag, part), "")
            content = self._store.read_file_if_there(self._run.location, path) if path in self._files else None
            self._comparison.compare_value("artifact", recorded, "" if content is None else sha256(content), path)
            found[path] = _object(content or b"{}")
        return found

    def _compare_parameters(self) -> None:
        documents = self._signed(artifacts.PARAMETERS_FILE, naming.PARAMETERS_DIGEST_TAG)
        values = {name: value for document in documents.values() for name, value in document.items()}
        found, texts = self._run.parameters, dict[str, str]()
        for name, value in values.items():
            # Canonical JSON writes 0.0 as 0, where the parameter keeps the number as Python writes it.
            shown = found.get(to_mlflow_name(name))
            texts[name] = value if isinstance(value, str) else json.dumps(value)
            if shown is not None and self._canonical(shown, value) == canonical_json(value):
                texts[name] = shown
        facts = RunFacts("").parameters
        put_all(facts, texts, 0, is_shipped=True)
        self._comparison.compare_texts("parameter", facts, found)

    def _canonical(self, text: str, like: JsonValue) -> bytes:
        """Return what a parameter's text says as canonical JSON; a long one is an artifact that it names."""
        path = f"{artifacts.LONG_VALUES}/{text.removeprefix('sha256:')}.txt"
        if path in self._files:
            text = (self._store.read_file_if_there(self._run.location, path) or b"").decode("utf-8", "replace")
        try:
            return canonical_json(text if isinstance(like, str) else json.loads(text))
        except ValueError:
            return b""

    def _compare_artifacts(self, listed: Mapping[str, list[tuple[str, object]]], *, added: Collection[str]) -> None:
        for path, accepted in listed.items():
            self._checked["artifact"] += 1
            recorded = file_text(*accepted[-1])
            if path not in self._files:
                self._comparison.differ("artifact", path, "missing", recorded=recorded)
            elif (found := self._store.digest_of(self._run.location, path)) not in accepted:
                self._comparison.differ_in_file("artifact", path, recorded, found)
        for path in sorted(added):
            found = self._store.digest_of(self._run.location, path)
            self._comparison.differ("artifact", path, "added", found=file_text(*found))

    def _compare_models(self, listed: Sequence[Mapping[str, JsonValue]]) -> None:
        models = {model.name: model for model in self._store.models_of(self._run)}
        for item in listed:
            self._checked["model"] += 1
            name, file, recorded = str(item["name"]), str(item["file"]), (str(item["sha256"]), item["size"])
            model = models.get(name)
            if model is None or file not in self._store.files_of(model.location):
                self._comparison.differ("model", f"{name}: {file}", "missing", recorded=file_text(*recorded))
            elif (found := self._store.digest_of(model.location, file)) != recorded:
                self._comparison.differ_in_file("model", f"{name}: {file}", file_text(*recorded), found)


def _match(
    wanted: Sequence[RunFacts], recorded: Mapping[str, RunFacts], runs: Sequence[FoundRun], noted: Mapping[str, str]
) -> tuple[dict[str, FoundRun], list[FoundRun]]:
    """Return the run in MLflow of every recorded run, and the runs that are left over.

    The journal's note names a run by its id, whatever became of its tags. Without one the oldest run with the key is
    taken, as the shipper keeps that one, and one that is not deleted before one that is; a run whose key was taken
    away is known by its name alone.
    """
    by_id = {run.run_id: run for run in runs}
    order = sorted(runs, key=lambda run: (run.is_deleted, run.start_time, run.run_id))
    pairs: dict[str, FoundRun] = {}
    for key in recorded:
        same = [run for run in order if run.tags.get(naming.RUN_KEY_TAG) == key]
        if (known := by_id.get(noted.get(key, ""))) is not None:
            pairs[key] = known
        elif same:
            pairs[key] = same[0]
    left = [run for run in order if run.run_id not in {pair.run_id for pair in pairs.values()}]
    for facts in wanted:
        named = [run for run in left if run.name == facts.name and naming.RUN_KEY_TAG not in run.tags]
        if facts.key not in pairs and named:
            pairs[facts.key] = named[0]
            left.remove(named[0])
    return pairs, left


def _object(content: bytes) -> dict[str, JsonValue]:
    try:
        value = json.loads(content)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _objects(document: Mapping[str, JsonValue], name: str) -> list[dict[str, JsonValue]]:
    value = document.get(name)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
