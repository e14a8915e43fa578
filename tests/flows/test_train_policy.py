"""A new snapshot is trained on if it is worth it, and once."""

import json
import time
from pathlib import Path
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client

from flows.train import evaluate, finetune, pretrain_gan, train_liveness
from flows.train_policy import CLAIM, TRAINED, TrainPolicy, claim, new_samples, note_trained, reason_to_wait
from storage.config import StoreConfig
from storage.snapshot import Store
from storage.writer import shard_writer
from tests.fixtures.balls import FAST, FAST_PDGAN, build_store
from tests.fixtures.samples import make_samples
from training.errors import TrainingError
from training.finetune import FinetuneConfig
from training.pretrain import PretrainConfig


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Snapshot 1 of six samples, snapshot 2 of four more."""
    root = tmp_path / "store"
    infos, parent = [], None
    for name, samples in (("one", make_samples(10)[:6]), ("two", make_samples(10)[6:])):
        with shard_writer(root, name, StoreConfig(), {}) as writer:
            writer.write(samples)
        infos.append(writer.info)
        parent = Store(root).commit(infos, parent=parent, config={}, lineage={})
    return str(root)


def test_new_samples_are_counted_against_what_the_last_model_saw(store: str) -> None:
    assert new_samples(f"{store}@2", f"{store}@1") == 4
    assert new_samples(f"{store}@2", f"{store}@2") == 0
    assert new_samples(f"{store}@2", f"{store}@7") == 10, "a snapshot that is gone says nothing"


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"min_new_samples": 4}, None),
        ({"min_new_samples": 5}, "4 samples are new"),
        ({"min_new_samples": 0, "min_hours": 1}, "0.0 hours old"),
        ({"min_new_samples": 0, "min_hours": 0}, None),
    ],
)
def test_small_changes_and_short_times_wait(store: str, tmp_path: Path, policy: dict[str, float], said: str) -> None:
    models = tmp_path / "models"
    assert reason_to_wait(f"{store}@1", models / "1", TrainPolicy(min_hours=9)) is None, "there is no model yet"
    (models / "1").mkdir(parents=True)
    note_trained(models / "1", f"{store}@1", 6)
    reason = reason_to_wait(f"{store}@2", models / "2", TrainPolicy.model_validate(policy))
    assert reason is None if said is None else said in (reason or "")


def test_a_folder_is_one_runs_until_that_run_is_over(tmp_path: Path, prefect_server: None) -> None:
    from prefect import flow
    from prefect.states import Completed, Running

    @flow
    def training() -> None: ...

    with get_client(sync_client=True) as client:
        first, second = (client.create_flow_run(training, state=Running()).id for _ in range(2))
        out = tmp_path / "models" / "3"
        assert claim(out, first) is None
        assert claim(out, first) is None, "a retry of the same run goes on"
        assert str(first) in (claim(out, second) or "")
        client.set_flow_run_state(first, Completed(), force=True)
        assert claim(out, second) is None, "it ended without a model"
        assert json.loads((out / CLAIM).read_text())["run"] == str(second)
        assert claim(out, uuid4()) is not None
    note_trained(out, "store@3", 10)
    assert "trained already" in (claim(out, second) or "")


def test_a_claim_that_nobody_knows_or_that_was_cut_short_is_taken_over(tmp_path: Path, prefect_server: None) -> None:
    for content in (json.dumps({"run": str(uuid4()), "since": time.time()}), "{"):
        (tmp_path / CLAIM).write_text(content)
        assert claim(tmp_path, uuid4()) is None


@pytest.mark.slow
def test_the_flow_trains_a_snapshot_once_and_says_why_it_does_not_again(tmp_path: Path, prefect_server: None) -> None:
    people = {"train": ["a", "b"], "dev": ["c", "d"], "test": ["e", "f"]}
    store = build_store(tmp_path / "store", people, each=8)
    out = tmp_path / "models" / "1"
    small = {"pretraining": PretrainConfig(pdgan=FAST_PDGAN, **FAST), "finetuning": FinetuneConfig(epochs=1, **FAST)}
    result = train_liveness(f"{store}@1", str(out), **small, policy=TrainPolicy())
    assert result.metrics.auc >= 0
    report = (out / "report.html").stat().st_mtime_ns
    assert json.loads((out / TRAINED).read_text())["store"] == f"{store}@1"
    for again in (TrainPolicy(), TrainPolicy(min_new_samples=0)):
        state = train_liveness(f"{store}@1", str(out), **small, policy=again, return_state=True)
        assert state.name == "Skipped"
        assert "0 samples are new" in state.message or "trained already" in state.message
    assert (out / "report.html").stat().st_mtime_ns == report


def test_models_are_not_written_behind_urls(store: str, prefect_server: None) -> None:
    with pytest.raises(TrainingError, match="s3://bucket/models/1: models are written to a folder here"):
        train_liveness(store, "s3://bucket/models/1", policy=TrainPolicy())
    for step in (pretrain_gan, finetune):
        with pytest.raises(TrainingError, match="give a local path as `out`"):
            step.fn(store, "s3://bucket/models/1")
    with pytest.raises(TrainingError, match="give a local path as `model`"):
        evaluate.fn(store, "s3://bucket/models/1", "out")
