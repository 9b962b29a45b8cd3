"""Write the tables of a fresh MLflow store as SQL, for the version of MLflow that is installed.

``make schema`` runs this after MLflow's pin has moved. MLflow's own migrations make the store; only the text is kept.
"""

from __future__ import annotations

import sqlite3
import tempfile
from importlib.metadata import version
from pathlib import Path

SCHEMAS = Path(__file__).parents[1] / "src" / "hokusai" / "tracking" / "mlflow_schemas"


def dump_fresh_store(folder: Path) -> str:
    """Let MLflow make a store in ``folder`` and return it as SQL without the default experiment.

    That row holds the artifact folder of the machine it was made on; MLflow adds it on first use.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(f"sqlite:///{folder / 'fresh.db'}", str(folder))
    store.engine.dispose()
    with sqlite3.connect(folder / "fresh.db") as connection:
        lines = [line.rstrip() for line in connection.iterdump() if not line.startswith('INSERT INTO "experiments"')]
    connection.close()
    return "\n".join("\n".join(part.rstrip() for part in line.splitlines()) for line in lines) + "\n"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        target = SCHEMAS / f"{version('mlflow')}.sql"
        target.parent.mkdir(exist_ok=True)
        target.write_text(dump_fresh_store(Path(folder)), encoding="utf-8")
        print(f"wrote {target}")
