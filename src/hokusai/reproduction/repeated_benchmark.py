"""The benchmark of an evaluation that is done again: no decision is spent, and no other data get an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hokusai.errors import BenchmarkLedgerError, ReproductionError
from hokusai.reproduction.evaluation_facts import dataset_name
from hokusai.steps.benchmark_use import BenchmarkUse
from hokusai.steps.decision_rule import rule_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from hokusai.records import DecisionRule, IntegratedData, Metric
    from hokusai.steps.benchmark_rows import BenchmarkRows
    from hokusai.steps.delta_settings import DeltaSettings
    from hokusai.tracking.shipper import Shipping

__all__ = ["RepeatedBenchmarkUse"]


class RepeatedBenchmarkUse(BenchmarkUse):
    """What a reproduction does with its benchmark: as the evaluation did, by the decision that it has spent.

    Args:
        settings: Where the key is, if there is one.
        evaluation: The key of the recorded evaluation.
        datasets: Its content digests by what :func:`~hokusai.reproduction.evaluation_facts.dataset_name` says.
        await_record: Called before anything is trained; raises where there is nothing to compare with.
        shipping: As for :class:`~hokusai.steps.benchmark_use.BenchmarkUse`; and so are the others.
    """

    def __init__(
        self,
        settings: DeltaSettings,
        *,
        evaluation: str,
        datasets: Mapping[str, str],
        await_record: Callable[[], object],
        shipping: Shipping | None = None,
        uri: str = "",
        registry_uri: str = "",
    ) -> None:
        super().__init__(settings, shipping=shipping, uri=uri, registry_uri=registry_uri)
        self._repeated, self._datasets, self._await_record = evaluation, datasets, await_record

    def open(self, data: IntegratedData, *, metric: Metric, group: str, evaluation: str) -> NDArray[np.bool_] | None:
        """As the evaluation did, once every table has proved to be the recorded one.

        Raises:
            ReproductionError: A table has another content. Nothing has been trained then.
            TrackingServerError: The store has not said what to compare with.
        """
        found = {dataset_name(version.context, version.name): version.digest for version in data.versions}
        others = [name for name, digest in self._datasets.items() if found.get(name) != digest]
        if others:
            problem = f"{', '.join(others)}: another content than was recorded. Nothing was trained."
            raise ReproductionError(self._repeated, problem, is_changed=True)
        self._await_record()
        return super().open(data, metric=metric, group=group, evaluation=evaluation)

    def spend(
        self,
        rule: DecisionRule,
        *,
        data: IntegratedData,
        rows: BenchmarkRows,  # noqa: ARG002  (what is the evaluation's was enough for a decision)
        is_random: bool,  # noqa: ARG002
    ) -> None:
        """Take the decision that the evaluation has spent, which is the same one; the ledger is only read.

        Raises:
            BenchmarkLedgerError: The evaluation has spent none, or by another rule.
        """
        if self._ledger is None or self._question is None or not data.has_new_rows:
            return
        taken = self._ledger.read(self._question.digest).decision_of(self._repeated)
        if taken is None:
            problem = f"evaluation {self._repeated} has spent none of its decisions, so that none can be taken again."
            raise BenchmarkLedgerError(self._question.digest, problem)
        if taken.rule_sha256 != rule_sha256(rule):
            problem = (
                f"evaluation {self._repeated} decided by the rule {taken.rule_sha256[:12]}, got "
                f"{rule_sha256(rule)[:12]}. Another rule is another decision."
            )
            raise BenchmarkLedgerError(self._question.digest, problem)
        self.number = taken.number

    def close(self, outcome: str) -> None:
        """Enter nothing: the outcome is in the ledger."""
