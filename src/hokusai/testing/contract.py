"""What every MLflow server does, as tests: subclass :class:`MlflowServerContract` and give it the server's address.

Hokusai runs it against :class:`~hokusai.testing.mlflow_server.MockMlflowServer` and against ``mlflow server``, so that
neither can drift from the other. Each test asks through MLflow's own client, or by plain HTTP where the client
would hide the answer. All names are drawn anew: a server that others use as well will do.
"""

from __future__ import annotations

import json
import math
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from mlflow import MlflowClient

__all__ = ["MlflowServerContract"]

_THREADS = 8


class MlflowServerContract:
    """Tests of experiments, runs, metrics, datasets, logged models, artifacts, the registry, errors and concurrency.

    Example::

        class TestMyServer(MlflowServerContract):
            @pytest.fixture(scope="class")
            @classmethod
            def server_uri(cls):
                with start_my_server() as uri:
                    yield uri
    """

    @pytest.fixture
    def server_uri(self) -> str:
        """The address of the server; to be overridden."""
        pytest.fail("a subclass of MlflowServerContract needs a fixture `server_uri`")

    @pytest.fixture
    def client(self, server_uri: str) -> MlflowClient:
        """MLflow's own client of the server."""
        from mlflow import MlflowClient

        return MlflowClient(server_uri, server_uri)

    @pytest.fixture
    def experiment(self, client: MlflowClient) -> str:
        """The id of a new experiment."""
        return client.create_experiment(_name("experiment"))

    @pytest.fixture
    def run(self, client: MlflowClient, experiment: str) -> str:
        """The id of a new run."""
        return str(client.create_run(experiment).info.run_id)

    @pytest.fixture
    def model(self, client: MlflowClient) -> str:
        """The name of a new registered model."""
        name = _name("model")
        client.create_registered_model(name, tags={"kind": "test"}, description="of a test")
        return name

    # --- experiments -------------------------------------------------------------------------------------------------

    def test_an_experiment_is_found_by_its_id_and_by_its_name(self, client: MlflowClient) -> None:
        name = _name("été & co")
        number = client.create_experiment(name, tags={"team": "blue"})
        by_name = client.get_experiment_by_name(name)
        assert by_name is not None
        assert by_name.experiment_id == number
        found = client.get_experiment(number)
        assert (found.name, found.tags["team"], found.lifecycle_stage) == (name, "blue", "active")
        assert found.artifact_location.startswith("mlflow-artifacts:/")
        assert client.get_experiment_by_name(_name("absent")) is None

    def test_the_name_of_an_experiment_is_taken_once(self, client: MlflowClient, experiment: str) -> None:
        name = client.get_experiment(experiment).name
        assert _refusal(lambda: client.create_experiment(name)) == "RESOURCE_ALREADY_EXISTS"

    def test_an_experiment_is_renamed_and_its_old_name_is_free(self, client: MlflowClient, experiment: str) -> None:
        old, new = client.get_experiment(experiment).name, _name("renamed")
        client.rename_experiment(experiment, new)
        assert client.get_experiment(experiment).name == new
        assert client.create_experiment(old) != experiment

    def test_experiments_are_searched_by_name_and_tag_page_by_page(self, client: MlflowClient) -> None:
        prefix = _name("search")
        for number in range(5):
            client.create_experiment(f"{prefix}-{number}", tags={"parity": "odd" if number % 2 else "even"})
        pages, token = [], None
        while True:
            page = client.search_experiments(
                filter_string=f"name LIKE '{prefix}%'", order_by=["name ASC"], max_results=2, page_token=token
            )
            pages.append([found.name.rpartition("-")[2] for found in page])
            token = page.token
            if not token:
                break
        assert pages == [["0", "1"], ["2", "3"], ["4"]]
        odd = client.search_experiments(filter_string=f"name LIKE '{prefix}%' AND tags.parity = 'odd'")
        assert {found.name.rpartition("-")[2] for found in odd} == {"1", "3"}

    def test_a_deleted_experiment_takes_no_runs_until_it_is_restored(
        self, client: MlflowClient, experiment: str
    ) -> None:
        client.delete_experiment(experiment)
        assert client.get_experiment(experiment).lifecycle_stage == "deleted"
        assert _refusal(lambda: client.create_run(experiment)) == "INVALID_PARAMETER_VALUE"
        client.restore_experiment(experiment)
        assert client.create_run(experiment).info.experiment_id == experiment

    def test_tags_of_an_experiment_are_set_changed_and_deleted(self, client: MlflowClient, experiment: str) -> None:
        client.set_experiment_tag(experiment, "stage", "first")
        client.set_experiment_tag(experiment, "stage", "second")
        client.set_experiment_tag(experiment, "gone", "soon")
        client.delete_experiment_tag(experiment, "gone")
        tags = client.get_experiment(experiment).tags
        assert tags["stage"] == "second"
        assert "gone" not in tags

    # --- runs --------------------------------------------------------------------------------------------------------

    def test_a_run_keeps_the_times_the_name_and_the_tags_it_is_given(
        self, client: MlflowClient, experiment: str
    ) -> None:
        parent = client.create_run(experiment, start_time=1_700_000_000_123, run_name="parent", tags={"note": "größer"})
        tags = {"mlflow.parentRunId": parent.info.run_id}
        child = client.create_run(experiment, start_time=1_700_000_000_456, run_name="child", tags=tags)
        assert (parent.info.start_time, parent.info.run_name, parent.info.status) == (
            1_700_000_000_123,
            "parent",
            "RUNNING",
        )
        assert parent.data.tags["note"] == "größer"
        client.set_terminated(child.info.run_id, "FAILED", end_time=1_700_000_001_000)
        ended = client.get_run(child.info.run_id)
        assert (ended.info.status, ended.info.end_time, ended.info.start_time) == (
            "FAILED",
            1_700_000_001_000,
            1_700_000_000_456,
        )
        above = client.get_parent_run(child.info.run_id)
        assert above is not None
        assert above.info.run_id == parent.info.run_id

    def test_a_run_without_a_name_is_given_one(self, client: MlflowClient, experiment: str) -> None:
        created = client.create_run(experiment)
        assert created.info.run_name
        assert created.data.tags["mlflow.runName"] == created.info.run_name

    def test_a_run_is_renamed_and_given_a_status(self, client: MlflowClient, run: str) -> None:
        client.update_run(run, status="KILLED", name="another")
        changed = client.get_run(run)
        assert (changed.info.run_name, changed.info.status) == ("another", "KILLED")
        assert changed.data.tags["mlflow.runName"] == "another"

    def test_tags_of_a_run_are_changed_and_deleted(self, client: MlflowClient, run: str) -> None:
        client.set_tag(run, "stage", "first")
        client.set_tag(run, "stage", "second")
        assert client.get_run(run).data.tags["stage"] == "second"
        client.delete_tag(run, "stage")
        assert "stage" not in client.get_run(run).data.tags
        assert _refusal(lambda: client.delete_tag(run, "stage")) == "RESOURCE_DOES_NOT_EXIST"

    @pytest.mark.parametrize(
        ("condition", "expected"),
        [
            ("params.depth = '2'", "2"),
            ("params.depth != '2' AND metrics.loss < 0.35", "13"),
            ("metrics.loss >= 0.2", "012"),
            ("tags.colour = 'red'", "02"),
            ("tags.`odd name` LIKE 'x-%'", "0123"),
            ("attributes.run_name = 'run-1'", "1"),
            ("attributes.status = 'FINISHED'", "03"),
            ("attributes.start_time > 1700000000001", "23"),
            ("attributes.run_name LIKE 'run-%' AND attributes.status != 'FINISHED'", "12"),
        ],
    )
    def test_runs_are_searched_by_what_is_known_of_them(
        self, client: MlflowClient, experiment: str, condition: str, expected: str
    ) -> None:
        self._four_runs(client, experiment)
        found = client.search_runs([experiment], condition)
        assert sorted(run.info.run_name[-1] for run in found) == list(expected)

    def test_a_search_that_cannot_be_read_is_refused(self, client: MlflowClient, experiment: str) -> None:
        assert _refusal(lambda: client.search_runs([experiment], "colour is red")) == "INVALID_PARAMETER_VALUE"

    def test_runs_come_in_order_page_by_page(self, client: MlflowClient, experiment: str) -> None:
        self._four_runs(client, experiment)
        pages, token = [], None
        while True:
            page = client.search_runs([experiment], order_by=["metrics.loss ASC"], max_results=3, page_token=token)
            pages.append("".join(run.info.run_name[-1] for run in page))
            token = page.token
            if not token:
                break
        assert pages == ["321", "0"]
        newest = client.search_runs([experiment], order_by=["attributes.start_time DESC"], max_results=1)
        assert newest[0].info.run_name == "run-3"

    def test_a_deleted_run_is_found_only_when_asked_for_until_it_is_restored(
        self, client: MlflowClient, experiment: str, run: str
    ) -> None:
        from mlflow.entities import ViewType

        client.delete_run(run)
        assert client.search_runs([experiment]) == []
        deleted = client.search_runs([experiment], run_view_type=ViewType.DELETED_ONLY)
        assert [found.info.run_id for found in deleted] == [run]
        assert _refusal(lambda: client.log_metric(run, "m", 1.0)) == "INVALID_PARAMETER_VALUE"
        client.restore_run(run)
        assert [found.info.run_id for found in client.search_runs([experiment])] == [run]

    # --- parameters and metrics --------------------------------------------------------------------------------------

    def test_a_batch_holds_a_thousand_metrics_and_not_one_more(
        self, client: MlflowClient, server_uri: str, run: str
    ) -> None:
        points = [{"key": f"m{number}", "value": number, "timestamp": 1, "step": 0} for number in range(1001)]
        refused = _post(server_uri, "runs/log-batch", {"run_id": run, "metrics": points})
        assert refused == (400, "INVALID_PARAMETER_VALUE")
        assert client.get_run(run).data.metrics == {}
        assert _post(server_uri, "runs/log-batch", {"run_id": run, "metrics": points[:1000]}) == (200, "")
        assert client.get_run(run).data.metrics == {f"m{number}": float(number) for number in range(1000)}

    def test_a_batch_holds_a_hundred_parameters_and_not_one_more(
        self, client: MlflowClient, server_uri: str, run: str
    ) -> None:
        params = [{"key": f"p{number}", "value": str(number)} for number in range(101)]
        refused = _post(server_uri, "runs/log-batch", {"run_id": run, "params": params})
        assert refused == (400, "INVALID_PARAMETER_VALUE")
        assert _post(server_uri, "runs/log-batch", {"run_id": run, "params": params[:100]}) == (200, "")
        assert client.get_run(run).data.params == {f"p{number}": str(number) for number in range(100)}

    def test_the_same_batch_twice_is_one(self, client: MlflowClient, run: str) -> None:
        from mlflow.entities import Metric, Param, RunTag

        for _ in range(2):
            client.log_batch(
                run,
                metrics=[Metric("loss", 0.5, 1_700_000_000_000, 1), Metric("loss", 0.25, 1_700_000_000_001, 2)],
                params=[Param("depth", "2")],
                tags=[RunTag("colour", "red")],
            )
        assert [(point.step, point.value) for point in client.get_metric_history(run, "loss")] == [(1, 0.5), (2, 0.25)]
        data = client.get_run(run).data
        assert (data.params, data.tags["colour"], data.metrics) == ({"depth": "2"}, "red", {"loss": 0.25})

    def test_a_parameter_does_not_change(self, client: MlflowClient, server_uri: str, run: str) -> None:
        client.log_param(run, "depth", 2)
        client.log_param(run, "depth", 2)
        changed = {"run_id": run, "key": "depth", "value": "3"}
        assert _post(server_uri, "runs/log-parameter", changed) == (400, "INVALID_PARAMETER_VALUE")
        batch = {"run_id": run, "params": [{"key": "depth", "value": "3"}]}
        assert _post(server_uri, "runs/log-batch", batch) == (400, "INVALID_PARAMETER_VALUE")
        assert client.get_run(run).data.params == {"depth": "2"}

    def test_the_history_of_a_metric_comes_page_by_page(self, client: MlflowClient, server_uri: str, run: str) -> None:
        from mlflow.entities import Metric

        client.log_batch(run, metrics=[Metric("loss", step / 8, 1000 + step, step) for step in range(7)])
        steps: list[list[int]] = []
        token = ""
        while not steps or token:
            query = f"run_id={run}&metric_key=loss&max_results=3" + (f"&page_token={token}" if token else "")
            answer = _get(server_uri, f"metrics/get-history?{query}")
            steps.append([int(point.get("step", 0)) for point in answer["metrics"]])
            token = answer.get("next_page_token", "")
        assert steps == [[0, 1, 2], [3, 4, 5], [6]]
        history = client.get_metric_history(run, "loss")
        assert [(point.step, point.value, point.timestamp) for point in history] == [
            (step, step / 8, 1000 + step) for step in range(7)
        ]
        assert client.get_metric_history(run, "absent") == []

    def test_metrics_that_are_no_numbers_or_without_bounds_are_kept(self, client: MlflowClient, run: str) -> None:
        values = {"undefined": math.nan, "above": math.inf, "below": -math.inf, "small": 5e-324, "tenth": 0.1}
        for name, value in values.items():
            client.log_metric(run, name, value)
        got = client.get_run(run).data.metrics
        assert math.isnan(got.pop("undefined"))
        # A SQL database knows no infinity; MLflow keeps the largest number.
        largest = sys.float_info.max
        assert got == {"above": largest, "below": -largest, "small": 5e-324, "tenth": 0.1}

    def test_the_latest_metric_is_the_one_of_the_last_step(self, client: MlflowClient, run: str) -> None:
        for step, value in ((3, 0.3), (1, 0.1), (2, 0.2)):
            client.log_metric(run, "loss", value, step=step)
        assert client.get_run(run).data.metrics == {"loss": 0.3}

    # --- datasets and logged models ----------------------------------------------------------------------------------

    def test_a_dataset_is_an_input_with_its_context(self, client: MlflowClient, experiment: str, run: str) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset("penguins", "ab12", "local", '{"uri": "p.csv"}', schema='{"x": 1}', profile='{"rows": 2}')
        for context in ("training", "evaluation"):
            target = run if context == "training" else client.create_run(experiment).info.run_id
            client.log_inputs(target, [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])
            inputs = client.get_run(target).inputs
            assert inputs is not None
            (kept,) = inputs.dataset_inputs
            assert kept.dataset.to_dictionary() == dataset.to_dictionary()
            assert {tag.key: tag.value for tag in kept.tags} == {"mlflow.data.context": context}
        found = client.search_runs([experiment], "datasets.name = 'penguins' AND datasets.context = 'training'")
        assert [each.info.run_id for each in found] == [run]

    def test_a_logged_model_is_made_finished_and_found_by_its_tag(
        self, client: MlflowClient, experiment: str, run: str
    ) -> None:
        from mlflow.entities import LoggedModelOutput

        made = client.create_logged_model(experiment, name="m", source_run_id=run, tags={"k": "v"}, params={"c": "1"})
        assert str(made.status) == "PENDING"
        client.finalize_logged_model(made.model_id, "READY")
        client.set_logged_model_tags(made.model_id, {"later": "yes"})
        client.log_outputs(run, [LoggedModelOutput(made.model_id, step=3)])
        (found,) = client.search_logged_models([experiment], "tags.k = 'v'")
        assert (found.model_id, found.name, str(found.status), found.params) == (
            made.model_id,
            "m",
            "READY",
            {"c": "1"},
        )
        assert found.tags == {"k": "v", "later": "yes"}
        assert client.search_logged_models([experiment], "tags.k = 'other'") == []
        outputs = client.get_run(run).outputs
        assert outputs is not None
        (output,) = outputs.model_outputs
        assert (output.model_id, output.step) == (made.model_id, 3)
        client.delete_logged_model(made.model_id)
        assert _refusal(lambda: client.get_logged_model(made.model_id)) == "RESOURCE_DOES_NOT_EXIST"

    def test_a_logged_model_has_files_of_its_own(self, client: MlflowClient, experiment: str, tmp_path: Path) -> None:
        made = client.create_logged_model(experiment, name="with-files")
        (tmp_path / "MLmodel").write_bytes(b"flavors: {}\n")
        client.log_model_artifact(made.model_id, str(tmp_path / "MLmodel"))
        (listed,) = client.list_logged_model_artifacts(made.model_id)
        assert (listed.path, listed.file_size) == ("MLmodel", 12)

    # --- artifacts ---------------------------------------------------------------------------------------------------

    def test_files_and_folders_come_back_as_they_went(self, client: MlflowClient, run: str, tmp_path: Path) -> None:
        sent = {"empty.txt": b"", "deep/er/bytes.bin": bytes(range(256)), "deep/odd name +é.txt": b"odd"}
        for path, content in sent.items():
            (tmp_path / "sent" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "sent" / path).write_bytes(content)
        client.log_artifacts(run, str(tmp_path / "sent"), "folder")
        client.log_artifact(run, str(tmp_path / "sent" / "empty.txt"))
        assert [(item.path, item.is_dir, item.file_size) for item in client.list_artifacts(run)] == [
            ("empty.txt", False, None),  # over HTTP a size of zero is no size
            ("folder", True, None),
        ]
        listed = {item.path: (item.is_dir, item.file_size) for item in client.list_artifacts(run, "folder/deep")}
        assert listed == {"folder/deep/er": (True, None), "folder/deep/odd name +é.txt": (False, 3)}
        (tmp_path / "got").mkdir()
        client.download_artifacts(run, "folder", str(tmp_path / "got"))
        root = tmp_path / "got" / "folder"
        got = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        assert got == sent

    def test_a_large_file_comes_back_as_it_went(self, client: MlflowClient, run: str, tmp_path: Path) -> None:
        content = bytes(range(256)) * (5 * 4096)
        (tmp_path / "large.bin").write_bytes(content)
        client.log_artifact(run, str(tmp_path / "large.bin"))
        (listed,) = client.list_artifacts(run)
        assert listed.file_size == len(content) == 5 << 20
        (tmp_path / "got").mkdir()
        client.download_artifacts(run, "large.bin", str(tmp_path / "got"))
        assert (tmp_path / "got" / "large.bin").read_bytes() == content

    def test_a_file_sent_in_chunks_is_put_together(self, client: MlflowClient, server_uri: str, run: str) -> None:
        root = client.get_run(run).info.artifact_uri.removeprefix("mlflow-artifacts:").lstrip("/")
        connection = HTTPConnection(urlsplit(server_uri).netloc, timeout=60)
        with closing(connection):
            path = f"/api/2.0/mlflow-artifacts/artifacts/{root}/chunks.bin"
            # Without a length of its own the body of a request is sent in chunks.
            connection.request("PUT", path, body=iter([b"one", b"two" * 100_000]))
            assert connection.getresponse().status == 200
        (listed,) = client.list_artifacts(run)
        assert listed.file_size == 300_003

    def test_deleted_artifacts_are_gone(self, client: MlflowClient, server_uri: str, run: str) -> None:
        client.log_text(run, "one", "keep/one.txt")
        client.log_text(run, "two", "drop/two.txt")
        root = client.get_run(run).info.artifact_uri.removeprefix("mlflow-artifacts:").lstrip("/")
        address = f"{server_uri}/api/2.0/mlflow-artifacts/artifacts/{root}/drop"
        assert _exchange("DELETE", address) == (200, {})
        assert [item.path for item in client.list_artifacts(run)] == ["keep"]
        # MLflow 3.17 answers 500 where the artifacts are in S3.
        assert _exchange("GET", f"{address}/two.txt")[0] in {404, 500}

    def test_a_path_that_leaves_the_artifacts_is_refused(self, server_uri: str) -> None:
        address = f"{server_uri}/api/2.0/mlflow-artifacts/artifacts/a/%2e%2e/%2e%2e/mlflow.db"
        status, answer = _exchange("GET", address)
        assert (status, answer.get("error_code")) == (400, "INVALID_PARAMETER_VALUE")

    # --- registry ----------------------------------------------------------------------------------------------------

    def test_a_registered_model_is_made_once_found_and_deleted(self, client: MlflowClient, model: str) -> None:
        found = client.get_registered_model(model)
        assert (found.name, found.tags, found.description) == (model, {"kind": "test"}, "of a test")
        assert _refusal(lambda: client.create_registered_model(model)) == "RESOURCE_ALREADY_EXISTS"
        assert [each.name for each in client.search_registered_models(f"name = '{model}'")] == [model]
        client.delete_registered_model(model)
        assert _refusal(lambda: client.get_registered_model(model)) == "RESOURCE_DOES_NOT_EXIST"
        assert list(client.search_registered_models(f"name = '{model}'")) == []

    def test_versions_are_numbered_tagged_and_found(self, client: MlflowClient, run: str, model: str) -> None:
        source = f"{client.get_run(run).info.artifact_uri}/model"
        versions = [
            client.create_model_version(model, source, run, tags={"number": number}) for number in ("one", "two")
        ]
        assert [(each.version, each.status, each.run_id) for each in versions] == [
            ("1", "READY", run),
            ("2", "READY", run),
        ]
        client.set_model_version_tag(model, "2", "checked", "yes")
        (found,) = client.search_model_versions(f"name = '{model}' AND tags.checked = 'yes'")
        assert (found.version, found.tags) == ("2", {"number": "two", "checked": "yes"})
        assert len(client.search_model_versions(f"run_id = '{run}'")) == 2
        assert client.get_model_version_download_uri(model, "1") == source
        client.delete_model_version(model, "1")
        assert _refusal(lambda: client.get_model_version(model, "1")) == "RESOURCE_DOES_NOT_EXIST"
        assert [each.version for each in client.search_model_versions(f"name = '{model}'")] == ["2"]

    def test_a_version_comes_from_a_logged_model(
        self, client: MlflowClient, experiment: str, run: str, model: str
    ) -> None:
        made = client.create_logged_model(experiment, name="m", source_run_id=run)
        client.finalize_logged_model(made.model_id, "READY")
        source = f"models:/{made.model_id}"
        version = client.create_model_version(model, source, run, model_id=made.model_id)
        assert client.get_model_version(model, version.version).source == source
        # The registry writes into the tracking store, which must be the same server's.
        assert model in client.get_logged_model(made.model_id).tags["mlflow.modelVersions"]

    def test_an_alias_names_one_version_at_a_time(self, client: MlflowClient, run: str, model: str) -> None:
        source = f"{client.get_run(run).info.artifact_uri}/model"
        for _ in range(2):
            client.create_model_version(model, source, run)
        for version in ("1", "2"):
            client.set_registered_model_alias(model, "champion", version)
        assert client.get_model_version_by_alias(model, "champion").version == "2"
        assert client.get_registered_model(model).aliases == {"champion": "2"}
        assert client.get_model_version(model, "1").aliases == []
        client.delete_registered_model_alias(model, "champion")
        assert _refusal(lambda: client.get_model_version_by_alias(model, "champion")) == "INVALID_PARAMETER_VALUE"

    def test_tags_of_a_registered_model_are_changed_and_deleted(self, client: MlflowClient, model: str) -> None:
        client.set_registered_model_tag(model, "owner", "us")
        client.delete_registered_model_tag(model, "kind")
        assert client.get_registered_model(model).tags == {"owner": "us"}

    # --- errors ------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("question", "expected"),
        [
            ("runs/get?run_id=0123456789abcdef0123456789abcdef", (404, "RESOURCE_DOES_NOT_EXIST")),
            ("runs/get", (400, "INVALID_PARAMETER_VALUE")),
            ("experiments/get?experiment_id=987654321", (404, "RESOURCE_DOES_NOT_EXIST")),
            ("experiments/get-by-name?experiment_name=no-such-name", (404, "RESOURCE_DOES_NOT_EXIST")),
            ("registered-models/get?name=no-such-model", (404, "RESOURCE_DOES_NOT_EXIST")),
            ("model-versions/get?name=no-such-model&version=1", (404, "RESOURCE_DOES_NOT_EXIST")),
            ("logged-models/m-0123456789abcdef0123456789abcdef", (404, "RESOURCE_DOES_NOT_EXIST")),
        ],
    )
    def test_what_is_not_there_has_its_own_error(
        self, server_uri: str, question: str, expected: tuple[int, str]
    ) -> None:
        status, answer = _exchange("GET", f"{server_uri}/api/2.0/mlflow/{question}")
        assert (status, answer["error_code"]) == expected
        assert answer["message"]

    @pytest.mark.parametrize(
        ("endpoint", "body", "expected"),
        [
            ("runs/create", b"{not json", (400, "BAD_REQUEST")),
            ("runs/create", b'{"start_time": "yesterday"}', (400, "INVALID_PARAMETER_VALUE")),
            ("runs/log-batch", b'{"run_id": 5}', (400, "INVALID_PARAMETER_VALUE")),
            ("experiments/create", b'{"name": ""}', (400, "INVALID_PARAMETER_VALUE")),
            ("experiments/create", b"{}", (400, "INVALID_PARAMETER_VALUE")),
        ],
    )
    def test_a_body_that_cannot_be_used_is_refused(
        self, server_uri: str, endpoint: str, body: bytes, expected: tuple[int, str]
    ) -> None:
        status, answer = _exchange("POST", f"{server_uri}/api/2.0/mlflow/{endpoint}", body)
        assert (status, answer.get("error_code")) == expected

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [("GET", "no/such/endpoint", 404), ("POST", "no/such/endpoint", 404), ("DELETE", "runs/create", 405)],
    )
    def test_an_endpoint_that_is_not_there_is_said_so(
        self, server_uri: str, method: str, path: str, status: int
    ) -> None:
        assert _exchange(method, f"{server_uri}/api/2.0/mlflow/{path}")[0] == status

    def test_the_server_says_that_it_is_well_and_which_version_it_is(self, server_uri: str) -> None:
        import mlflow

        for path, expected in (("health", b"OK"), ("version", mlflow.__version__.encode())):
            with urllib.request.urlopen(f"{server_uri}/{path}", timeout=30) as answer:  # noqa: S310  (a server for tests)
                assert answer.read() == expected

    # --- concurrency -------------------------------------------------------------------------------------------------

    def test_of_many_who_create_one_experiment_one_does(self, client: MlflowClient, server_uri: str) -> None:
        name = _name("contended")
        with ThreadPoolExecutor(_THREADS) as threads:
            answers = list(
                threads.map(lambda _: _post(server_uri, "experiments/create", {"name": name}), range(_THREADS))
            )
        assert sorted(answers) == [(200, ""), *[(400, "RESOURCE_ALREADY_EXISTS")] * (_THREADS - 1)]
        assert len(client.search_experiments(filter_string=f"name = '{name}'")) == 1

    def test_what_many_log_to_one_run_is_all_there(self, client: MlflowClient, run: str) -> None:
        from mlflow.entities import Metric, Param, RunTag

        def log(worker: int) -> None:
            for step in range(10):
                points = [
                    Metric("shared", worker + step / 16, 1000 + step, step),
                    Metric(f"own{worker}", step, 1, step),
                ]
                params = [Param(f"p{worker}.{step}", str(step))]
                client.log_batch(run, metrics=points, params=params, tags=[RunTag(f"t{worker}.{step}", "x")])

        with ThreadPoolExecutor(_THREADS) as threads:
            list(threads.map(log, range(_THREADS)))
        data = client.get_run(run).data
        assert len(data.params) == 10 * _THREADS
        assert len([name for name in data.tags if name.startswith("t")]) == 10 * _THREADS
        shared = client.get_metric_history(run, "shared")
        assert sorted(point.value for point in shared) == sorted(
            worker + step / 16 for worker in range(_THREADS) for step in range(10)
        )
        assert [data.metrics[f"own{worker}"] for worker in range(_THREADS)] == [9.0] * _THREADS

    @staticmethod
    def _four_runs(client: MlflowClient, experiment: str) -> None:
        for number in range(4):
            run = client.create_run(experiment, 1_700_000_000_000 + number, run_name=f"run-{number}").info.run_id
            client.log_param(run, "depth", number)
            client.log_metric(run, "loss", (4 - number) / 10)
            client.set_tag(run, "colour", "blue" if number % 2 else "red")
            client.set_tag(run, "odd name", f"x-{number}")
            if number in (0, 3):
                client.set_terminated(run)


def _name(kind: str) -> str:
    return f"{kind}-{uuid4().hex[:12]}"


def _refusal(action: Callable[[], object]) -> str:
    """Return the error code with which MLflow refuses."""
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException) as refused:
        action()
    return str(refused.value.error_code)


def _post(server_uri: str, endpoint: str, body: Mapping[str, Any]) -> tuple[int, str]:
    """Return status and error code of a call of the REST API; the code is empty when there is no error."""
    status, answer = _exchange("POST", f"{server_uri}/api/2.0/mlflow/{endpoint}", json.dumps(body).encode())
    return status, str(answer.get("error_code", ""))


def _get(server_uri: str, question: str) -> dict[str, Any]:
    status, answer = _exchange("GET", f"{server_uri}/api/2.0/mlflow/{question}")
    assert status == 200, answer
    return answer


def _exchange(method: str, address: str, body: bytes | None = None) -> tuple[int, dict[str, Any]]:
    """Return status and JSON object of an answer; an answer that is something else counts as an empty object."""
    headers = {"Content-Type": "application/json"} if body is not None else {}
    request = urllib.request.Request(address, data=body, headers=headers, method=method)  # noqa: S310  (as above)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  (as above)
            status, content = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            status, content = error.code, error.read()
    try:
        value = json.loads(content)
    except ValueError:
        return status, {}
    return status, value if isinstance(value, dict) else {}
