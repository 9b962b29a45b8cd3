"""How often a benchmark may be asked: its halves, the decisions that were declared, and its history.

A benchmark that is split gives its decision half's answer only to who has the key, and each answer is taken from a
declared number of them, before the candidate is trained. One that is not split may be asked without end, and every
answer is exploratory.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from hokusai.errors import BenchmarkLedgerError, ConfigurationError, TrackingServerError
from hokusai.records import BenchmarkQuestion
from hokusai.steps.decision import why_undecidable
from hokusai.steps.decision_rule import rule_sha256

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hokusai.records import BenchmarkAnswer, BenchmarkHistory, DecisionRule, IntegratedData, Metric
    from hokusai.steps.benchmark_rows import BenchmarkRows
    from hokusai.steps.delta_settings import DeltaSettings
    from hokusai.tracking.mlflow_ledger import BenchmarkLedger
    from hokusai.tracking.shipper import Shipping

__all__ = ["BenchmarkUse"]


class BenchmarkUse:
    """What one evaluation does with its benchmark.

    Args:
        settings: Where the key is, if there is one.
        shipping: Who can ask the tracking store meanwhile; None asks nobody.
        uri: Tracking URI, for the ledger.
        registry_uri: URI of the model registry; default the tracking URI.

    Attributes:
        decisions: How many decisions were declared; None where the benchmark is not split.
        alpha: One-sided level of each; None where the benchmark is not split.
        number: Which of them this evaluation has taken; None before that, and where none were declared.
    """

    def __init__(
        self, settings: DeltaSettings, *, shipping: Shipping | None = None, uri: str = "", registry_uri: str = ""
    ) -> None:
        """Ask nobody yet."""
        self._key_file, self._shipping = settings.benchmark_key_file, shipping
        self._uri, self._registry_uri = uri, registry_uri
        self._ledger: BenchmarkLedger | None = None
        self._question: BenchmarkQuestion | None = None
        self._commitment = ""
        self.decisions: int | None = None
        self.alpha: float | None = None
        self.number: int | None = None

    def open(self, data: IntegratedData, *, metric: Metric, group: str, evaluation: str) -> NDArray[np.bool_] | None:
        """Look the benchmark up, and return which of its rows decide; None where it is not split.

        Args:
            data: The benchmark.
            metric: The metric that decides.
            group: The column of rows that belong together; empty for none.
            evaluation: The evaluation's key.

        Raises:
            ConfigurationError: The key's file is no key, or the groups are not those of the split.
            BenchmarkLedgerError: The benchmark is not split, or not by this key, or its decisions are spent.
            TrackingServerError: There is a key, and the ledger does not answer.
        """
        digest = next((version.digest for version in data.versions if version.context == "benchmark"), "")
        self._question = BenchmarkQuestion(
            digest=digest, metric=metric.name, higher_is_better=metric.higher_is_better, evaluation=evaluation
        )
        if self._shipping is not None:
            self._shipping.ask(self._question)
        if self._key_file is None:
            return None
        from hokusai.datasets.benchmark_key import read_benchmark_key
        from hokusai.datasets.benchmark_split import key_commitment, split_rows
        from hokusai.tracking.benchmark_ledger import require_key
        from hokusai.tracking.mlflow_ledger import BenchmarkLedger

        key = read_benchmark_key(self._key_file)
        self._commitment = key_commitment(key, digest)
        self._ledger = BenchmarkLedger(self._uri, registry_uri=self._registry_uri)
        state = self._ledger.read(digest)
        if state.declaration is None:
            problem = "it has a key and no ledger here, expected that it was split. Run `hokusai benchmark split`."
            raise BenchmarkLedgerError(digest, problem)
        require_key(state, self._commitment)
        if state.declaration.group != group:
            problem = f"got {group!r}, but the benchmark is split by groups of {state.declaration.group!r}. Mend it."
            raise ConfigurationError(problem, key="evaluation.group")
        self.decisions, self.alpha = state.decisions, state.alpha
        rows = data.benchmark_parts[0][1] if data.benchmark_parts else data.benchmark.num_rows
        benchmark = data.benchmark.slice(0, rows)
        if data.benchmark_types is not None:
            # A row's half follows from its digest, so that a contribution must not change the types of its values.
            benchmark = benchmark.cast(data.benchmark_types)
        groups = data.benchmark_columns[group].slice(0, rows) if group and data.benchmark_columns else None
        return split_rows(benchmark, key=key, groups=groups)

    def spend(self, rule: DecisionRule, *, data: IntegratedData, rows: BenchmarkRows, is_random: bool) -> None:
        """Take one of the declared decisions; it stays taken whatever happens then.

        None is taken when the scores could not change the answer: where no contributed row is new. Looks see scores
        while seeds are fitted, so that whether the benchmark may be asked is made sure here as well.

        Args:
            rule: The rule.
            data: What is evaluated.
            rows: The benchmark's rows; those that decide are the first set.
            is_random: Whether the trainer's result depends on its seed.

        Raises:
            ConfigurationError: The benchmark is split, and no key was given.
            BenchmarkLedgerError: None is left, or the rows or seeds are too few for any decision.
            TrackingServerError: The ledger does not answer.
        """
        if rule.looks:
            self.history()
        if self._ledger is None or self._question is None or not data.has_new_rows:
            return
        truth = rows.truth
        lacking = why_undecidable(
            rule,
            fits=min(rule.seeds, rule.control_seeds) if is_random else None,
            class_rows=rows.class_rows(rows.sets[0]),
            positive_class="" if truth.positive is None else truth.classes[truth.positive],
        )
        if lacking:
            raise BenchmarkLedgerError(self._question.digest, f"its decision half can decide nothing: {lacking}")
        spending = self._ledger.spend(
            self._question.digest,
            commitment=self._commitment,
            evaluation=self._question.evaluation,
            rule_sha256=rule_sha256(rule),
        )
        self.number = spending.number

    def history(self) -> BenchmarkHistory | None:
        """Return earlier evaluations on the benchmark; None where the store did not say in time.

        Raises:
            ConfigurationError: The benchmark is split, and no key was given.
        """
        answer = self._answer()
        if answer is None:
            return None
        if answer.is_split and self._key_file is None:
            problem = (
                "the benchmark is split, and half of it answers only declared decisions; name the file of its key. "
                "`hokusai benchmark show` tells who split it."
            )
            raise ConfigurationError(problem, key="delta.benchmark_key_file")
        return answer.history

    def close(self, outcome: str) -> None:
        """Enter the outcome into the ledger, for those who read it.

        A store that does not answer any more loses nothing: the outcome is on the evaluation's own run as well.
        """
        if self._ledger is None or self._question is None or self.number is None:
            return
        with suppress(TrackingServerError):
            self._ledger.record_outcome(self._question.digest, evaluation=self._question.evaluation, outcome=outcome)

    def _answer(self) -> BenchmarkAnswer | None:
        if self._shipping is None or self._question is None:
            return None
        return self._shipping.answer(self._question)
