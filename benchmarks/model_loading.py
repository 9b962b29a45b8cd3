"""Loading a registered model with every file checked against what was recorded, and as MLflow loads it, unchecked.

Both load the same version from the same store and end with a model that predicts. From a store without a server MLflow
copies nothing: it reads the files where they lie.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import Side, alternate, cost_of, print_table

from hokusai.digests import folder_manifest, sha256
from hokusai.models.mlflow_registry import ModelRegistry
from hokusai.models.model_cache import ModelCache
from hokusai.models.retrieval import checked_model, pull_model
from hokusai.records import MODEL_MANIFEST_FILE, MODEL_MANIFEST_TAG
from hokusai.testing.mlflow_server import MockMlflowServer
from hokusai.tracking.sqlite_store import create_sqlite_store

if TYPE_CHECKING:
    from mlflow import MlflowClient

_RUNS = 7
_ROWS = 20_000
# About 50 MB as a skops file.
_TREES = 120


def main() -> None:
    """Compare the ways for a small model and for one of about 50 MB, from a SQLite store and over HTTP."""
    with tempfile.TemporaryDirectory(prefix="hokusai-bench-") as name, MockMlflowServer() as server:
        folder = Path(name)
        create_sqlite_store(folder / "mlflow.db")
        stores = {"a SQLite store": f"sqlite:///{folder / 'mlflow.db'}", "a server on loopback": server.uri}
        for place, (title, uri) in enumerate(stores.items()):
            _compare(title, uri=uri, folder=folder / str(place))


def _compare(title: str, *, uri: str, folder: Path) -> None:
    from mlflow import MlflowClient

    folder.mkdir()
    # MLflow's loading asks the store of the whole process.
    os.environ |= {"MLFLOW_TRACKING_URI": uri, "MLFLOW_REGISTRY_URI": uri}
    client = MlflowClient(uri, uri)
    client.create_experiment("models", None if uri.startswith("http") else (folder / "artifacts").as_uri())
    for name, model in _models().items():
        megabytes = _register(client, name, model, folder=folder) / 1e6
        samples = alternate(_sides(name, uri=uri, folder=folder))
        print_table(f"{name}, {megabytes:.1f} MB, from {title} to a model that predicts", samples)


def _sides(name: str, *, uri: str, folder: Path) -> list[Side]:
    import mlflow.pyfunc
    import mlflow.sklearn

    address = f"models:/{name}/1"
    warm = ModelCache(folder / "cache")

    def checked(cache: ModelCache) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as target:
            pulled = pull_model(address, Path(target) / "model", registry=ModelRegistry(uri), cache=cache)
            mlflow.sklearn.load_model(str(pulled.folder))

    def once() -> None:
        with checked_model(address, registry=ModelRegistry(uri)) as place:
            mlflow.sklearn.load_model(str(place))

    checked(warm)
    return [
        Side(
            "mlflow.sklearn.load_model, unchecked", lambda: cost_of(lambda: mlflow.sklearn.load_model(address)), _RUNS
        ),
        Side("mlflow.pyfunc.load_model, unchecked", lambda: cost_of(lambda: mlflow.pyfunc.load_model(address)), _RUNS),
        Side("checked_model, every file checked", lambda: cost_of(once), _RUNS),
        Side("pull_model with its cache, every file checked", lambda: cost_of(lambda: checked(warm)), _RUNS),
    ]


def _models() -> dict[str, Any]:
    import numpy as np
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    table = rng.normal(size=(_ROWS, 20))
    labels = (table[:, 0] + rng.normal(size=_ROWS) > 0).astype(int)
    return {
        "small": LogisticRegression().fit(table, labels),
        "forest": RandomForestClassifier(n_estimators=_TREES, random_state=0).fit(table, labels),
    }


def _register(client: MlflowClient, name: str, model: Any, *, folder: Path) -> int:  # noqa: ANN401  (scikit-learn's)
    """Register a model with a manifest, as the shipper does, and return the size of its files in bytes."""
    import mlflow.sklearn
    import skops.io

    saved = folder / name
    trusted = skops.io.get_untrusted_types(data=skops.io.dumps(model))
    mlflow.sklearn.save_model(model, str(saved), pip_requirements=["scikit-learn"], skops_trusted_types=trusted)
    manifest = folder_manifest(saved)
    (saved / MODEL_MANIFEST_FILE).write_bytes(manifest)
    (experiment,) = client.search_experiments(filter_string="name = 'models'")
    logged = client.create_logged_model(experiment.experiment_id, name=name)
    client.log_model_artifacts(logged.model_id, str(saved))
    client.create_registered_model(name)
    tags = {MODEL_MANIFEST_TAG: sha256(manifest)}
    client.create_model_version(name, f"models:/{logged.model_id}", tags=tags, model_id=logged.model_id)
    return sum(file.stat().st_size for file in saved.iterdir())


if __name__ == "__main__":
    main()
