"""The evaluations of the whole-system tests: what is evaluated, how, on which stores, and what it should be worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.whole_system.real_data import write_air_times, write_delays, write_penguins, write_sentences

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["CASES", "CONFIGURATION", "DONE_AGAIN", "PAIRS", "Case"]

CONFIGURATION = "evaluation.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One evaluation of real data.

    Attributes:
        name: What it is called; names its project too.
        write: Writes its tables into a folder.
        tables: File by the name of the table: ``base``, ``benchmark`` and the contribution.
        label: The column to predict.
        estimator: What is trained.
        metric: The metric that decides.
        gain: The least and the greatest gain in it, by what was measured for such data and with some room.
        parameters: Those of the estimator, as TOML.
        data: More of ``[data]``, as TOML.
        more: More of the configuration after ``delta.metric``, as TOML.
        seeds: Fits of each arm.
    """

    name: str
    write: Callable[[Path], None]
    tables: dict[str, str]
    label: str
    estimator: str
    metric: str
    gain: tuple[float, float]
    parameters: str = ""
    data: str = ""
    more: str = ""
    seeds: int = 3

    @property
    def project(self) -> str:
        """The project, and with it the experiment and the registered model, which no other test uses."""
        return f"whole-{self.name}"

    @property
    def contribution(self) -> str:
        """The name of the contribution."""
        return next(name for name in self.tables if name not in ("base", "benchmark"))

    @property
    def configuration(self) -> str:
        """The evaluation's file."""
        return f"""\
project = "{self.project}"

[data]
base = "{self.tables["base"]}"
benchmark = "{self.tables["benchmark"]}"
label = "{self.label}"
{self.data}
[[data.contributions]]
path = "{self.tables[self.contribution]}"
contributor = "somebody"
licence = "CC0-1.0"

[training]
estimator = "{self.estimator}"
parameters = {{ {self.parameters} }}
seeds = {self.seeds}
workers = 1

[delta]
metric = "{self.metric}"
{self.more}"""


CASES = {
    case.name: case
    for case in (
        Case(
            name="penguins",
            write=write_penguins,
            tables={"base": "base.csv", "benchmark": "benchmark.csv", "dream": "dream.csv"},
            label="species",
            estimator="LogisticRegression",
            metric="accuracy",
            # 95 of 119 are right without Dream, and all with it.
            gain=(24 / 119, 24 / 119),
            more="minimum_discordant_rows = 20\n",
        ),
        Case(
            name="delays",
            write=write_delays,
            tables={"base": "base.parquet", "benchmark": "benchmark.parquet", "newark": "newark.parquet"},
            label="late",
            estimator="HistGradientBoostingClassifier",
            # A part of the features for every split: fits with other seeds differ.
            parameters="early_stopping = false, max_features = 0.7",
            metric="roc_auc",
            # +0.021 with all rows; the standard deviation over samples of them is 0.004.
            gain=(0.009, 0.033),
        ),
        Case(
            name="air-times",
            write=write_air_times,
            tables={"base": "base.csv", "benchmark": "benchmark.csv", "united": "united.csv"},
            label="air_time",
            estimator="HistGradientBoostingRegressor",
            # Stops early on rows that the seed chooses, and tells its losses.
            parameters="early_stopping = true",
            metric="rmse",
            # Minutes. How much depends on what is made of destinations that Delta does not fly to.
            gain=(10.0, 30.0),
        ),
        Case(
            name="sentences",
            write=write_sentences,
            tables={"base": "base.csv", "benchmark": "benchmark.csv", "reviews": "reviews.csv"},
            label="feeling",
            estimator="TextClassifier",
            metric="roc_auc",
            # +0.134 with a standard deviation of 0.007 over samples of the rows.
            gain=(0.10, 0.165),
            data='personal_data = { email = "keep", phone = "keep" }\n',
            more='\n[evaluation]\npositive_class = "kind"\n',
        ),
    )
}

DONE_AGAIN = [
    *((case, store) for store in ("sqlite", "postgres-and-s3") for case in CASES),
    ("penguins", "server"),
    ("penguins", "postgres-and-s3-direct"),
]
"""Cases and stores that are evaluated, and done again from what the store holds."""

# In this order, for pytest puts the tests of one evaluation together by the place of their parameter.
PAIRS = [*DONE_AGAIN, *((case, "server") for case in CASES if case != "penguins")]
"""Cases and stores that are evaluated."""
