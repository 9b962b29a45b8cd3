"""Which datasets a tracking store has on record, which runs used them, and which was made from which.

A dataset is its content digest: one content under several names, in several contexts or in many evaluations is one
dataset. What was made from what follows from the runs alone: in one evaluation the integrated data are made from the
base data and the contributions; a manifest, where a run left one, names the parents itself. Nothing here writes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from hokusai.errors import DatasetNotFoundError, TrackingError
from hokusai.tracking.mlflow_config import require_store
from hokusai.tracking.naming import DECISION_TAG, EVALUATION_TAG, MODEL_VERSION_TAG, STEP_TAG, STEPS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from hokusai.tracking.mlflow_config import TrackingSettings
    from hokusai.tracking.mlflow_reader import FoundDataset, FoundRun, MlflowReader

__all__ = ["DatasetUse", "LineageNode", "RecordedDataset", "RecordedDatasets"]

_FOLDER = "datasets"
_MANIFEST_SUFFIX = ".croissant.json"
_DIGEST_LENGTH = 64
_PREFIX = re.compile(r"[0-9a-f]{4,64}")
_RUNS_ASKED = 20
_CANDIDATES_SHOWN = 8
_MADE = "integrated"
_MADE_FROM = ("base", "contribution")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetUse:
    """One run that used a dataset.

    Attributes:
        run_id: MLflow's id of the run.
        run: The run's name.
        step: The step, empty for the run of a whole evaluation.
        evaluation: The evaluation's key; the run's id where a run has none.
        evaluation_name: The name of the evaluation's parent run, if that is known.
        context: The part that the dataset played.
        name: What it was called there.
        source: Where it came from.
        started: Start of the run, in milliseconds since 1970.
        status: How the run ended.
        decision: The decision of the evaluation; empty when there is none.
        model_version: The registered model and version that the evaluation made, such as ``hokusai-penguins/3``.
    """

    run_id: str
    run: str
    step: str
    evaluation: str
    evaluation_name: str
    context: str
    name: str
    source: str
    started: int
    status: str
    decision: str
    model_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedDataset:
    """A content that runs of a store used.

    Attributes:
        digest: The content digest; of a run that did not record it whole, what MLflow holds instead.
        names: What it was called, sorted.
        contexts: The parts that it played, sorted.
        rows: Number of rows, or None when MLflow does not say.
        columns: Columns as MLflow describes them, such as ``bill_length_mm: double``.
        first_seen: Start of the first run that used it, in milliseconds since 1970.
        evaluations: How many evaluations used it.
        uses: Every run that used it, the newest first.
    """

    digest: str
    names: tuple[str, ...]
    contexts: tuple[str, ...]
    rows: int | None
    columns: tuple[str, ...]
    first_seen: int
    evaluations: int
    uses: tuple[DatasetUse, ...]

    @property
    def is_whole_digest(self) -> bool:
        """Whether the digest is one of ours, and not the short one of a run that another program logged."""
        return len(self.digest) == _DIGEST_LENGTH


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageNode:
    """One content among all that a dataset was made from, or among all that was made from it.

    Attributes:
        digest: The content digest.
        dataset: What the store knows of it; None for a parent that a manifest names and no run used.
        depth: How many steps it is away.
        next_digests: One step further in the same direction, sorted.
        is_repeated: Whether it stands further up in the list already, with what comes after it.
    """

    digest: str
    dataset: RecordedDataset | None
    depth: int
    next_digests: tuple[str, ...]
    is_repeated: bool


class RecordedDatasets:
    """The datasets of one tracking store, read once.

    Args:
        settings: Names the store.

    Attributes:
        store: The store's address without credentials.

    Raises:
        TrackingError: There is no store, or it does not answer.
    """

    def __init__(self, settings: TrackingSettings) -> None:
        uri = require_store(settings)
        from hokusai.tracking.mlflow_reader import MlflowReader

        self._reader: MlflowReader = MlflowReader(
            uri, registry_uri=settings.registry_uri, request_seconds=settings.request_seconds
        )
        self.store = self._reader.uri
        self._runs = {run.run_id: run for run in self._reader.runs_with_datasets()}
        # The run of an evaluation need not list datasets itself, and it alone knows the decision and the model.
        parents = {run.parent_id for run in self._runs.values()} - {"", *self._runs}
        self._runs |= {run.run_id: run for run in self._reader.runs_with_ids(sorted(parents))}

    @cached_property
    def datasets(self) -> tuple[RecordedDataset, ...]:
        """Every dataset, the last seen for the first time in front."""
        found: dict[str, list[tuple[FoundDataset, DatasetUse]]] = defaultdict(list)
        parents = {_evaluation(run): run for run in self._runs.values() if not run.parent_id}
        for run in self._runs.values():
            for dataset in run.datasets:
                parent = parents.get(_evaluation(run))
                found[dataset.digest or dataset.short_digest].append((dataset, _use(run, dataset, parent)))
        datasets = (_recorded(digest, items) for digest, items in found.items())
        return tuple(sorted(datasets, key=lambda item: (-item.first_seen, item.digest)))

    def find(self, name: str) -> RecordedDataset:
        """Return the dataset with this digest, these first characters of a digest (at least 4), or this name.

        Raises:
            DatasetNotFoundError: There is none.
            TrackingError: There are several.
        """
        if _PREFIX.fullmatch(name) and (found := [item for item in self.datasets if item.digest.startswith(name)]):
            return self._one(name, found)
        found = [item for item in self.datasets if name in item.names]
        if not found:
            raise DatasetNotFoundError(name, store=self.store)
        return self._one(name, found)

    def with_digest(self, digest: str) -> RecordedDataset | None:
        """Return the dataset with this whole digest, or None."""
        return self._by_digest.get(digest)

    def manifests(self, dataset: RecordedDataset) -> Iterable[tuple[str, bytes]]:
        """Return place and bytes of the manifests that runs left beside a dataset, the most telling first.

        Whose manifest it is stands in the manifest itself: compare its digest. Of the runs that used the dataset the
        newest twenty are asked, those of the step that makes manifests first.
        """
        for run, path in self._kept_files(dataset):
            if path.endswith(_MANIFEST_SUFFIX) and _is_of(path, run, dataset):
                yield f"{run.name} {path}", self._reader.read_file(run.location, path)

    def fetch_snapshot(self, dataset: RecordedDataset, folder: Path) -> Path | None:
        """Copy the stored table of a dataset into a folder, or return None when no run stored it.

        The file is as the store holds it: digest its content before it is believed.
        """
        wanted = f"{_FOLDER}/{dataset.digest}.parquet"
        for run, path in self._kept_files(dataset):
            if path == wanted:
                return self._reader.fetch_file(run.location, path, folder)
        return None

    def parents_of(self, digest: str) -> tuple[str, ...]:
        """Return the digests of what a content was made from, as the runs say, sorted."""
        return tuple(sorted(self._parents.get(digest, ())))

    def children_of(self, digest: str) -> tuple[str, ...]:
        """Return the digests of what was made from a content, as the runs say, sorted."""
        return tuple(sorted(self._children.get(digest, ())))

    def ancestors(self, digest: str, *, parents: Mapping[str, Sequence[str]] | None = None) -> tuple[LineageNode, ...]:
        """Return all that a content was made from, each before what it was made from itself.

        Args:
            digest: The content digest.
            parents: Parents by digest that manifests name beside those that follow from the runs.
        """
        known = {child: set(found) for child, found in self._parents.items()}
        for child, named in (parents or {}).items():
            known.setdefault(child, set()).update(named)
        return self._reachable(digest, known)

    def descendants(self, digest: str) -> tuple[LineageNode, ...]:
        """Return all that was made from a content, each before what was made from it in turn."""
        return self._reachable(digest, self._children)

    @cached_property
    def _by_digest(self) -> dict[str, RecordedDataset]:
        return {item.digest: item for item in self.datasets}

    @cached_property
    def _parents(self) -> dict[str, set[str]]:
        by_evaluation: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for item in self.datasets:
            for use in item.uses:
                by_evaluation[use.evaluation][use.context].add(item.digest)
        parents: dict[str, set[str]] = defaultdict(set)
        for contexts in by_evaluation.values():
            # Several integrations in one evaluation cannot be told apart by the runs.
            if len(contexts.get(_MADE, ())) == 1:
                (made,) = contexts[_MADE]
                sources = {digest for context in _MADE_FROM for digest in contexts.get(context, ())}
                # Where every contributed row was known already, the integrated data are the base data.
                parents[made] |= sources - {made}
        return {digest: found for digest, found in parents.items() if found}

    @cached_property
    def _children(self) -> dict[str, set[str]]:
        children: dict[str, set[str]] = defaultdict(set)
        for child, found in self._parents.items():
            for parent in found:
                children[parent].add(child)
        return dict(children)

    def _reachable(self, digest: str, edges: Mapping[str, set[str]]) -> tuple[LineageNode, ...]:
        nodes: list[LineageNode] = []
        seen = {digest}
        waiting = [(item, 1) for item in sorted(edges.get(digest, ()), reverse=True)]
        while waiting:
            current, depth = waiting.pop()
            following = tuple(sorted(edges.get(current, ())))
            is_repeated = current in seen
            nodes.append(
                LineageNode(
                    digest=current,
                    dataset=self.with_digest(current),
                    depth=depth,
                    next_digests=following,
                    is_repeated=is_repeated,
                )
            )
            if not is_repeated:
                seen.add(current)
                waiting.extend((item, depth + 1) for item in reversed(following))
        return tuple(nodes)

    def _kept_files(self, dataset: RecordedDataset) -> Iterable[tuple[FoundRun, str]]:
        first = sorted(dataset.uses, key=lambda use: use.step != STEPS[1])
        for run_id in list(dict.fromkeys(use.run_id for use in first))[:_RUNS_ASKED]:
            run = self._runs[run_id]
            for path in sorted(self._reader.files_in(run.location, _FOLDER)):
                yield run, path

    def _one(self, name: str, found: Sequence[RecordedDataset]) -> RecordedDataset:
        if len(found) == 1:
            return found[0]
        shown = "; ".join(
            f"{item.digest[:12]} ({', '.join(item.names)}, {item.rows} rows)" for item in found[:_CANDIDATES_SHOWN]
        )
        more = f"; and {len(found) - _CANDIDATES_SHOWN} more" if len(found) > _CANDIDATES_SHOWN else ""
        msg = f"{name!r} names {len(found)} datasets in {self.store}: {shown}{more}. Name one by its digest."
        raise TrackingError(msg)


def _is_of(path: str, run: FoundRun, dataset: RecordedDataset) -> bool:
    """Whether a manifest's name is that of the dataset in this run."""
    stem = path.removeprefix(f"{_FOLDER}/").removesuffix(_MANIFEST_SUFFIX)
    return any(
        stem in (item.context, f"{item.context}.{item.name}")
        for item in run.datasets
        if (item.digest or item.short_digest) == dataset.digest
    )


def _evaluation(run: FoundRun) -> str:
    return run.tags.get(EVALUATION_TAG) or run.parent_id or run.run_id


def _use(run: FoundRun, dataset: FoundDataset, parent: FoundRun | None) -> DatasetUse:
    headline = run if parent is None else parent
    return DatasetUse(
        run_id=run.run_id,
        run=run.name,
        step=run.tags.get(STEP_TAG, ""),
        evaluation=_evaluation(run),
        evaluation_name="" if parent is None else parent.name,
        context=dataset.context,
        name=dataset.name,
        source=dataset.source,
        started=run.start_time,
        status=run.status,
        decision=headline.tags.get(DECISION_TAG, ""),
        model_version=headline.tags.get(MODEL_VERSION_TAG, ""),
    )


def _recorded(digest: str, items: Sequence[tuple[FoundDataset, DatasetUse]]) -> RecordedDataset:
    uses = sorted((use for _, use in items), key=lambda use: (-use.started, use.run_id, use.context, use.name))
    described = next((dataset for dataset, _ in items if dataset.columns), items[0][0])
    rows = next((int(dataset.rows) for dataset, _ in items if dataset.rows.isdecimal()), None)
    return RecordedDataset(
        digest=digest,
        names=tuple(sorted({use.name for use in uses})),
        contexts=tuple(sorted({use.context for use in uses})),
        rows=rows,
        columns=described.columns,
        first_seen=min(use.started for use in uses),
        evaluations=len({use.evaluation for use in uses}),
        uses=tuple(uses),
    )
