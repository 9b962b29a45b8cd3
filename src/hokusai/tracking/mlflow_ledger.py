"""The ledgers of benchmarks in MLflow's registry: the door through which they are read and added to.

A ledger is a registered model, and each of its entries a version of it, which MLflow numbers one by one in the
database. What the entries add up to says :mod:`hokusai.tracking.benchmark_ledger`. Every call answers within seconds,
also when the server does not; foreign errors leave as :class:`~hokusai.errors.TrackingServerError`.
"""

from __future__ import annotations

import os
import re
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING

# As in mlflow_client: MLflow reads this while it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_PARENT_RUN_ID

from hokusai.errors import BenchmarkLedgerError, TrackingServerError
from hokusai.process_environment import user_name
from hokusai.records import LEDGER_OF_TAG
from hokusai.tracking.benchmark_history import EarlierEvaluation
from hokusai.tracking.benchmark_ledger import (
    LedgerEntry,
    entry_from_tags,
    entry_tags,
    ledger_name,
    read_ledger,
    require_budget,
    require_declaration,
    require_key,
    require_split,
    require_unsplit,
)
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.naming import DECISION_TAG, EVALUATION_TAG, HOST_KIND_TAG, REPRODUCTION_OF_TAG
from hokusai.tracking.secrets import redact_text
from hokusai.tracking.surroundings import host_tags

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

    from hokusai.tracking.benchmark_ledger import LedgerState, Spending

__all__ = ["BenchmarkLedger"]

_PER_PAGE = 1000
_ATTEMPTS = 20
_LONGEST_NOTE = 5000
_RUNS_SEARCHED = 1000
_DATASET_DIGEST_LENGTH = 36
_BENCHMARK = "benchmark"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_EVALUATION = re.compile(r"[\w.-]{1,100}")
# MLflow tries to number a version three times, and a database in one file may be busy longer than it waits.
_CROWDED = re.compile(
    r"Giving up after|database is locked|IntegrityError|UNIQUE constraint|duplicate key|QueuePool limit"
)


class BenchmarkLedger(MlflowStore):
    """The ledgers of benchmarks in one MLflow store; a benchmark is its content digest.

    An instance may be used by several threads, and several processes may use one store.

    Args:
        uri: Tracking URI.
        registry_uri: URI of the model registry; default the tracking URI.
        request_seconds: How long a server may keep silent, unless MLflow's environment variables say otherwise.

    Raises:
        TrackingServerError: The store cannot be opened. (An HTTP server is not asked before the first call.)
    """

    def __init__(self, uri: str, *, registry_uri: str = "", request_seconds: float = 10.0) -> None:
        """Open the store; a SQLite file that is not there is made."""
        super().__init__(uri, registry_uri=registry_uri, request_seconds=request_seconds)

    def read(self, digest: str) -> LedgerState:
        """Return what is declared of a benchmark and what is left of it; one that was never split has an empty state.

        Raises:
            BenchmarkLedgerError: That is no content digest.
            TrackingServerError: The store does not answer.
        """
        if not _DIGEST.fullmatch(digest):
            raise BenchmarkLedgerError(digest, "got no content digest, expected 64 lower-case hexadecimal digits.")
        entries, highest = self._entries(digest)
        return read_ledger(digest, entries, highest=highest)

    def find(self, beginning: str) -> tuple[str, ...]:
        """Return the digests of the benchmarks whose ledgers are here and whose digests begin like this.

        Raises:
            TrackingServerError: The store does not answer.
        """
        with self._translated():
            # The name has half of the digest, and the tag all of it.
            found = self._client.search_registered_models(f"name LIKE '{ledger_name(beginning)}%'", _PER_PAGE)
        digests = (model.tags.get(LEDGER_OF_TAG, "") for model in found)
        return tuple(sorted(digest for digest in digests if digest.startswith(beginning)))

    def split(
        self,
        digest: str,
        *,
        commitment: str,
        decisions: int,
        alpha: float = 0.05,
        feedback_rows: int,
        decision_rows: int,
        group: str = "",
        note: str = "",
    ) -> LedgerState:
        """Declare, once and for all, the halves of a benchmark and how many decisions it is for.

        Args:
            digest: The benchmark's content digest.
            commitment: What tells the key of the halves from any other.
            decisions: How many decisions will be taken at most.
            alpha: Probability that any of them accepts a contribution that is worth no more than the bar, however many
                such contributions there are; default 0.05.
            feedback_rows: Rows of the half whose scores are shown.
            decision_rows: Rows of the half that decides.
            group: The column whose groups stay whole; default none.
            note: Why, for those who read the ledger.

        Returns:
            The ledger afterwards.

        Raises:
            BenchmarkLedgerError: It is split or retired already, somebody else was faster, or a value is out of range.
            TrackingServerError: The store does not answer.
        """
        require_declaration(digest, decisions=decisions, alpha=alpha, rows=(feedback_rows, decision_rows))
        require_unsplit(self.read(digest))
        entry = self._entry(
            kind="split",
            note=note,
            commitment=commitment,
            decisions=decisions,
            alpha=alpha,
            feedback_rows=feedback_rows,
            decision_rows=decision_rows,
            group=group,
        )
        state = self._add(digest, entry)
        if state.declaration is None or state.declaration.key != entry.key:
            require_unsplit(state)
        return state

    def spend(self, digest: str, *, commitment: str, evaluation: str, rule_sha256: str) -> Spending:
        """Take one decision, before the candidate is trained; it stays spent whatever happens then.

        The same evaluation with the same rule gets the same decision again, and spends nothing more, until its outcome
        is on record: then it has had its answer.

        Args:
            digest: The benchmark's content digest.
            commitment: That of the key by which the halves were made.
            evaluation: The evaluation's key.
            rule_sha256: SHA-256 of the rule by which it will decide.

        Returns:
            Which decision that is, and its level.

        Raises:
            BenchmarkLedgerError: The benchmark is not split or not by this key, nothing is left, it is retired, or the
                evaluation has taken its decision with another rule, or has had its answer.
            TrackingServerError: The store does not answer. The decision may be spent or not; another call with the same
                evaluation does not spend it twice.
        """
        if not _EVALUATION.fullmatch(evaluation) or not _DIGEST.fullmatch(rule_sha256):
            problem = "expected the key of an evaluation, and the SHA-256 of its rule as 64 hexadecimal digits."
            raise BenchmarkLedgerError(digest, f"got {evaluation[:80]!r} and {rule_sha256[:80]!r}, {problem}")
        state = self.read(digest)
        require_key(state, commitment)
        if state.decision_of(evaluation) is None:
            require_budget(state)
            entry = self._entry(kind="spend", key=f"spend:{evaluation}", evaluation=evaluation, rule_sha256=rule_sha256)
            state = self._add(digest, entry)
        taken, spending = state.decision_of(evaluation), state.spending_of(evaluation)
        if taken is None or spending is None:
            require_budget(state)
            # Decisions are left, and this one's entry is gone again: it is spent, and granted to nobody.
            raise BenchmarkLedgerError(
                digest, f"somebody deleted the entry of evaluation {evaluation}. Start a new one."
            )
        if taken.rule_sha256 != rule_sha256:
            problem = (
                f"evaluation {evaluation} took decision {taken.number} with the rule {taken.rule_sha256[:12]}, got "
                f"{rule_sha256[:12]}. A rule is fixed before the candidate is trained: start a new evaluation."
            )
            raise BenchmarkLedgerError(digest, problem)
        if taken.outcome:
            problem = f"evaluation {evaluation} has had its answer, {taken.outcome}. Start a new one."
            raise BenchmarkLedgerError(digest, problem)
        return spending

    def record_outcome(self, digest: str, *, evaluation: str, outcome: str) -> LedgerState:
        """Add what an evaluation decided, for those who read the ledger; the budget does not depend on it.

        Args:
            digest: The benchmark's content digest.
            evaluation: The evaluation's key.
            outcome: What was decided.

        Returns:
            The ledger afterwards.

        Raises:
            BenchmarkLedgerError: The evaluation has taken no decision, or another outcome is on record.
            TrackingServerError: The store does not answer.
        """
        state = self.read(digest)
        taken = state.decision_of(evaluation)
        if taken is None:
            raise BenchmarkLedgerError(digest, f"evaluation {evaluation} has taken no decision on it.")
        if not taken.outcome:
            entry = self._entry(kind="outcome", key=f"outcome:{evaluation}", evaluation=evaluation, outcome=outcome)
            state = self._add(digest, entry)
            taken = state.decision_of(evaluation) or taken
        if taken.outcome != outcome:
            problem = f"evaluation {evaluation} has the outcome {taken.outcome!r} on record, got {outcome!r}."
            raise BenchmarkLedgerError(digest, problem)
        return state

    def retire(self, digest: str, *, reason: str) -> LedgerState:
        """End a ledger: nothing is decided on this benchmark any more.

        Args:
            digest: The benchmark's content digest.
            reason: Why.

        Returns:
            The ledger afterwards.

        Raises:
            BenchmarkLedgerError: It is not split, or retired already, or there is no reason.
            TrackingServerError: The store does not answer.
        """
        if not reason.strip():
            raise BenchmarkLedgerError(digest, "to retire it needs a reason. Say why.")
        state = self.read(digest)
        require_split(state)
        require_budget(state)
        return self._add(digest, self._entry(kind="retire", note=reason))

    def earlier_evaluations(self, digest: str, *, metric: str, without: str = "") -> tuple[EarlierEvaluation, ...]:
        """Return finished evaluations that were decided on a benchmark, the newest first, at most 1,000.

        Args:
            digest: The benchmark's content digest.
            metric: The metric that is asked for.
            without: The key of an evaluation that does not count.

        Raises:
            TrackingServerError: The store does not answer.
        """
        # MLflow's own field has no room for a whole digest; the input's tag has it.
        condition = f"dataset.digest = '{digest[:_DATASET_DIGEST_LENGTH]}' AND attributes.status = 'FINISHED'"
        # Steps list the benchmark as well; only a parent has a decision and nothing above it.
        condition += f" AND tags.`{DECISION_TAG}` IS NOT NULL AND tags.`{MLFLOW_PARENT_RUN_ID}` IS NULL"
        with self._translated():
            experiments = self._client.search_experiments(max_results=_RUNS_SEARCHED)
            ids = [str(experiment.experiment_id) for experiment in experiments]
            runs = self._search(ids, condition, limit=_RUNS_SEARCHED) if ids else []
        return tuple(
            EarlierEvaluation(
                evaluation=run.data.tags.get(EVALUATION_TAG, ""),
                started=run.info.start_time,
                candidate=run.data.metrics.get(f"candidate.{metric}"),
            )
            for run in runs
            if _is_decided_on(run, digest)
            and run.data.tags.get(EVALUATION_TAG, "") != without
            # Whoever does an evaluation again learns nothing new of the benchmark.
            and REPRODUCTION_OF_TAG not in run.data.tags
        )

    def _entry(self, *, key: str = "", note: str = "", **facts: object) -> LedgerEntry:
        """Return an entry with what every entry says of itself."""
        return LedgerEntry(
            key=key or secrets.token_hex(8),
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            user=user_name(),
            host_kind=host_tags()[HOST_KIND_TAG],
            note=redact_text(note)[:_LONGEST_NOTE],
            **facts,  # type: ignore[arg-type]
        )

    def _entries(self, digest: str) -> tuple[list[LedgerEntry], int]:
        """Return the readable entries of a ledger, and the highest number of any."""
        found: list[LedgerEntry] = []
        highest, token = 0, None
        with self._translated():
            while True:
                # In the order of their numbers: what others add meanwhile comes last, and no page leaves one out.
                page = self._client.search_model_versions(
                    f"name = '{ledger_name(digest)}'",
                    max_results=_PER_PAGE,
                    order_by=["version_number ASC"],
                    page_token=token,
                )
                for version in page:
                    highest = max(highest, int(version.version))
                    entry = entry_from_tags(int(version.version), version.tags)
                    found += [entry] if entry else []
                token = page.token
                if not token:
                    return found, highest

    def _add(self, digest: str, entry: LedgerEntry) -> LedgerState:
        """Add an entry and return what the ledger adds up to then.

        An answer that was lost is no reason to give up: the ledger says whether the entry is there.
        """
        try:
            self._append(digest, entry)
        except TrackingServerError as error:
            if not error.is_outage:
                raise
            entries, highest = self._entries(digest)
            if entry.key not in {item.key for item in entries}:
                raise
            return read_ledger(digest, entries, highest=highest)
        return self.read(digest)

    def _append(self, digest: str, entry: LedgerEntry) -> None:
        name = ledger_name(digest)
        with self._translated():
            for attempt in range(_ATTEMPTS):
                try:
                    self._client.create_model_version(
                        name,
                        # No address of a model: MLflow would look for it.
                        source=f"hokusai-ledger:/{entry.kind}",
                        tags=entry_tags(entry),
                        description=f"{entry.kind} {entry.evaluation}".strip(),
                        await_creation_for=None,  # type: ignore[arg-type]  # None is MLflow's way to say: do not poll
                    )
                except MlflowException as error:
                    if error.error_code == "RESOURCE_DOES_NOT_EXIST" and not attempt:
                        self._make_ledger(name, digest)
                    elif not _CROWDED.search(str(error)) or attempt == _ATTEMPTS - 1:
                        raise
                else:
                    return

    def _make_ledger(self, name: str, digest: str) -> None:
        description = "What a benchmark was declared for and who spent it; see `hokusai benchmark budget`."
        try:
            self._client.create_registered_model(name, {LEDGER_OF_TAG: digest}, description)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


def _is_decided_on(run: MlflowRun, digest: str) -> bool:
    """Say whether a run lists this content as the benchmark that decides, which is called that in every evaluation."""
    for item in run.inputs.dataset_inputs if run.inputs else ():
        tags = {tag.key: tag.value for tag in item.tags}
        if item.dataset.name == _BENCHMARK and tags.get(MLFLOW_DATASET_CONTEXT) == _BENCHMARK:
            return bool(tags.get("hokusai.digest") == digest)
    return False
