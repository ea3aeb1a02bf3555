"""MLflow's folder and database stores, read back through its client."""

import dataclasses

import pytest

from electrojax.training.loggers.mlflow import MLflow
from tests.training.loggers.conftest import told

pytest.importorskip(
    "mlflow", reason="mlflow weighs 360 MB and is in the extra `track` only: pip install '.[track]'"
)


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("ALLOW_FILE_STORE", "DISABLE_TELEMETRY", "HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.setenv(f"MLFLOW_{name}", "restored after the test")
        monkeypatch.delenv(f"MLFLOW_{name}")


def client(uri):
    from mlflow import MlflowClient

    return MlflowClient(uri)


def history(client, run_id, name="valid/forces_rmse"):
    return [(m.step, m.value) for m in client.get_metric_history(run_id, name)]


def test_a_run_is_in_the_file_store_of_the_run_folder(start, files):
    run_id = told(MLflow(experiment="ions"), start, (1, 2, 3), files)
    store = client((start.folder / "mlruns").as_uri())
    run = store.get_run(run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "water")
    assert store.get_experiment(run.info.experiment_id).name == "ions"
    assert run.data.params["train.stages.0.loss.energy"] == "1.0"
    assert run.data.params["train.early_stop"] == "None" and run.data.params["loggers"] == "[]"
    assert history(store, run_id) == [(1, 10.0), (2, 20.0), (3, 30.0)]
    assert run.data.metrics["train/loss"] == 1 / 3
    stored = store.download_artifacts(run_id, "plots/curve.png")
    with open(stored, "rb") as file:
        assert file.read() == files[1].read_bytes()
    assert {item.path for item in store.list_artifacts(run_id)} == {"model.ejx", "plots"}


@pytest.mark.parametrize("store", ["file", pytest.param("sqlite", marks=pytest.mark.slow)])
def test_a_resumed_run_is_the_same_run(start, store, tmp_path):
    places = {"file": (tmp_path / "all").as_uri(), "sqlite": f"sqlite:///{tmp_path / 'all.db'}"}
    logger = MLflow(tracking_uri=places[store])
    run_id = told(logger, start, (1, 2), status="interrupted")
    assert client(places[store]).get_run(run_id).info.status == "KILLED"
    # A resumed run may have more epochs than MLflow was told at first.
    config = {**start.config, "train": {"stages": [{"name": "warm", "epochs": 9}]}}
    resumed = dataclasses.replace(start, epoch=2, run_id=run_id, config=config)
    assert told(MLflow(tracking_uri=places[store]), resumed, (3,)) == run_id
    run = client(places[store]).get_run(run_id)
    assert run.info.status == "FINISHED" and run.data.params["train.stages.0.epochs"] == "3"
    assert history(client(places[store]), run_id) == [(1, 10.0), (2, 20.0), (3, 30.0)]
    assert not (start.folder / "mlruns").exists()


def test_a_store_that_does_not_know_the_run_gets_a_new_one(start, monkeypatch, tmp_path):
    run_id = told(MLflow(), start, (1,))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "other").as_uri())
    other = told(MLflow(), dataclasses.replace(start, epoch=1, run_id=run_id), (2,))
    assert other != run_id
    assert history(client((tmp_path / "other").as_uri()), other) == [(2, 20.0)]
