"""Addresses of tracking stores: what is a file, and what must not be shown."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hokusai.errors import ConfigurationError
from hokusai.tracking.mlflow_config import (
    TrackingSettings,
    absolute_store_uri,
    default_store_uri,
    redact_credentials,
    shipper_environment,
    sqlite_path,
)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://somebody:secret@host:5000/path?q=1", "https://host:5000/path?q=1"),
        ("http://token@host", "http://host"),
        ("http://us@er:p@ss@host", "http://host"),
        ("postgresql+psycopg2://u:p@db/mlflow", "postgresql+psycopg2://db/mlflow"),
        ("http://u:p@[x", "http://[x"),
        ("http://host/a@b", "http://host/a@b"),
        ("http://host?q=a@b", "http://host?q=a@b"),
        ("sqlite:////tmp/a@b/mlflow.db", "sqlite:////tmp/a@b/mlflow.db"),
        ("databricks", "databricks"),
        ("", ""),
    ],
)
def test_user_name_and_password_are_left_out_and_nothing_else(uri: str, shown: str) -> None:
    assert redact_credentials(uri) == shown
    assert redact_credentials(shown) == shown


@given(
    user=st.text(string.ascii_letters + string.digits, min_size=1),
    password=st.text(string.ascii_letters + string.digits + "-._~!$&'()*+,;=:@%[]", min_size=1),
)
def test_no_password_is_shown(user: str, password: str) -> None:
    assert redact_credentials(f"https://{user}:{password}@host:1/p") == "https://host:1/p"


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("sqlite:////tmp/mlflow.db", Path("/tmp/mlflow.db")),  # noqa: S108  (nothing is written there)
        ("sqlite:///mlflow.db", Path("mlflow.db")),
        ("sqlite:///a/b.db?timeout=20", Path("a/b.db")),
        ("postgresql://host/mlflow", None),
        ("http://host", None),
        ("mlflow.db", None),
        ("", None),
    ],
)
def test_only_a_sqlite_address_has_a_file(uri: str, path: Path | None) -> None:
    assert sqlite_path(uri) == path


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("sqlite:///store.db", "a/store.db"),
        ("sqlite:///../store.db", "store.db"),
        ("sqlite:///b/./store.db?timeout=20", "a/b/store.db?timeout=20"),
    ],
)
def test_a_relative_file_becomes_one_of_the_folder(tmp_path: Path, uri: str, name: str) -> None:
    (tmp_path / "a").mkdir()
    assert absolute_store_uri(uri, tmp_path / "a") == f"sqlite:///{tmp_path}/{name}"


@pytest.mark.parametrize(
    "uri",
    [
        *(
            "sqlite:////tmp/../store.db",
            "sqlite:///:memory:",
            "sqlite:///",
            "sqlite://",
            "http://host/x.db",
            "databricks",
        ),
        *("sqlite:///file:x?mode=memory&uri=true", "postgresql://host/mlflow", ""),
    ],
)
def test_any_other_address_stays_as_it_is(tmp_path: Path, uri: str) -> None:
    assert absolute_store_uri(uri, tmp_path) == uri


def test_a_relative_file_in_a_folder_that_no_address_can_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"what\?/store.db has a '\?'"):
        absolute_store_uri("sqlite:///store.db", tmp_path / "what?")


@pytest.mark.parametrize("name", ["plain", "with space", "100%41", "a@b:c", "café", "a#b"])
def test_the_default_store_is_a_file_in_the_folder(tmp_path: Path, name: str) -> None:
    assert sqlite_path(default_store_uri(tmp_path / name)) == tmp_path / name / "mlflow.db"


@pytest.mark.parametrize(("seconds", "timeout"), [(0.1, "1"), (10.0, "10"), (2.6, "3")])
def test_mlflow_does_not_retry_by_itself_and_gives_up_in_time(seconds: float, timeout: str) -> None:
    environment = shipper_environment(TrackingSettings(request_seconds=seconds))
    assert environment["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
    assert environment["MLFLOW_HTTP_REQUEST_TIMEOUT"] == timeout
