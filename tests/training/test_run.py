"""A store to a judged model: what is written, that it can be repeated, and that nothing leaks."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError

from storage.dataset import DepthDataset
from tests.fixtures.balls import BUILD, FAST, FAST_PDGAN, SIZE, build_store
from training import metrics
from training.checkpoint import load_json, load_model
from training.errors import TrainingError
from training.evaluate import evaluate, read_scores
from training.finetune import FinetuneConfig, finetune
from training.pretrain import PretrainConfig, pretrain
from training.scoring import feed_of, score_rows


def test_pretraining_leaves_a_whole_folder(trained):
    names = {p.name for p in trained.pretrained.iterdir()}
    files = {"model.safetensors", "model.json", "encoder.safetensors", "history.json", "embedding.json"}
    assert names == files | {"checkpoints", "tensorboard"}
    history = load_json(trained.pretrained / "history.json")
    assert [r["epoch"] for r in history] == [1, 2, 3]
    assert "g_adversarial" not in history[1]
    assert {"g_l1", "g_adversarial", "g_class", "d_stored", "critic_class_accuracy", "dev_l1_live"} <= history[2].keys()
    assert history[-1]["g_l1"] < history[0]["g_l1"]
    config = load_json(trained.pretrained / "model.json")
    assert config["store"] == {"path": str(trained.store), "snapshot": 1}
    assert (config["adversarial_steps"], config["critic_steps"]) == (8, 4)
    assert len(config["split"]["train_subjects"]) == 8
    assert len(config["split"]["dev_subjects"]) == 2


def test_progress_counts_to_the_end(trained):
    assert [call[:3] for call in trained.calls] == [("pdgan-generator", i, 24) for i in range(1, 25)]


def test_embedding_is_of_people_who_were_not_trained_on(trained):
    embedding = load_json(trained.pretrained / "embedding.json")
    data = DepthDataset(str(trained.store))
    subject = dict(zip(data.table["sample_id"].to_pylist(), data.table["subject"].to_pylist(), strict=True))
    split = load_json(trained.pretrained / "model.json")["split"]
    assert {subject[i] for i in embedding["sample_id"]} == set(split["dev_subjects"])
    for key in ("he_init", "pretrained"):
        assert np.shape(embedding[key]["points"]) == (32, 2)
        assert 0 < sum(embedding[key]["explained"]) <= 1
    assert embedding["he_init"]["points"] != embedding["pretrained"]["points"]


def test_same_seed_same_weights_and_another_seed_others(store, trained, tmp_path):
    again = pretrain(str(store), tmp_path / "a", PretrainConfig(pdgan=FAST_PDGAN, **FAST))
    for name in ("encoder.safetensors", "model.safetensors", "embedding.json"):
        assert (again / name).read_bytes() == (trained.pretrained / name).read_bytes()
    model = finetune(str(store), tmp_path / "m", FinetuneConfig(encoder=again, epochs=6, **FAST))
    assert (model / "model.safetensors").read_bytes() == (trained.model / "model.safetensors").read_bytes()
    other = pretrain(str(store), tmp_path / "b", PretrainConfig(pdgan=FAST_PDGAN, seed=1, **FAST))
    assert (other / "encoder.safetensors").read_bytes() != (again / "encoder.safetensors").read_bytes()


def test_model_folder_says_all_that_a_user_needs(trained):
    net, card = load_model(trained.model)
    assert card["weights"]["parameters"] == 712_465
    assert card["output"]["positive_class"] == "live"
    assert (card["input"]["size"], card["input"]["colour"], card["input"]["range"]) == (SIZE, "RGB", [0, 1])
    assert card["input"]["crop"] == BUILD  # the store's build settings
    assert card["threshold"]["rule"] == "eer"
    assert card["threshold"]["source"] == "dev"
    assert card["threshold"]["per_attack"] == {"print": 8, "replay": 8}
    assert card["training"]["init"] == "pretrained"
    assert not net.training


def test_the_model_tells_live_from_spoof_and_live_scores_higher(trained):
    got = trained.evaluation
    assert got.metrics.auc > 0.95
    scores = read_scores(trained.model.parent / "eval" / "scores.parquet")
    assert np.median(scores.live) > np.median(scores.spoof)
    assert (scores.score >= 0).all()
    assert (scores.score <= 1).all()


def test_scores_file_names_its_polarity_and_every_sample(trained):
    path = trained.model.parent / "eval" / "scores.parquet"
    table = pq.read_table(path)
    assert table.schema.metadata[b"positive_class"] == b"live"
    assert len(table) == 64
    assert set(table["subject"].to_pylist()) == {f"balls/t{i}" for i in range(4)}
    written = json.loads((path.parent / "evaluation.json").read_text())
    assert written == trained.evaluation.to_json()
    assert written["oracle"]["threshold_rule"] == "oracle"
    assert written["metrics"]["threshold_source"] == "dev"


def test_threshold_is_devs_whatever_the_test_holds(trained, tmp_path):
    """Another test split, another oracle; the reported threshold stays the model's."""
    card = load_json(trained.model / "model.json")
    other = build_store(tmp_path / "other", {"test": ["z1", "z2"]}, each=8)
    got = evaluate(str(other), trained.model, tmp_path / "eval")
    assert got.metrics.threshold == trained.evaluation.metrics.threshold == card["threshold"]["value"]
    data = DepthDataset(str(trained.store))
    net, _ = load_model(trained.model)
    feed = feed_of(card, data, batch=64, device=torch.device("cpu"))
    subjects = np.array(data.table["subject"].to_pylist())
    dev = score_rows("dev", net, feed, np.flatnonzero(np.isin(subjects, card["split"]["dev_subjects"])))
    assert metrics.eer_threshold(dev).value == pytest.approx(card["threshold"]["value"], abs=1e-6)
    assert dev.digest() == card["threshold"]["digest"]


def test_people_who_were_trained_on_are_refused_in_evaluation(trained, tmp_path):
    with pytest.raises(TrainingError, match=r"10 subjects of this split.*--seen-subjects"):
        evaluate(str(trained.store), trained.model, tmp_path, split="train")
    assert not list(tmp_path.iterdir())
    assert evaluate(str(trained.store), trained.model, tmp_path, split="train", seen_subjects=True).split == "train"


def test_an_absent_split_is_named(trained, tmp_path):
    with pytest.raises(TrainingError, match="no samples with split 'final'; the store has 'test': 64, 'train': 160"):
        evaluate(str(trained.store), trained.model, tmp_path, split="final")


def test_a_new_encoder_can_be_fine_tuned_too(store, tmp_path):
    model = finetune(str(store), tmp_path, FinetuneConfig(epochs=1, **FAST))
    assert load_json(model / "model.json")["training"]["init"] == "he"


def test_an_encoder_that_is_not_there_is_named_before_any_work(store, tmp_path):
    with pytest.raises(TrainingError, match=r"nowhere: cannot read these weights"):
        finetune(str(store), tmp_path / "m", FinetuneConfig(encoder=tmp_path / "nowhere", **FAST))
    assert not (tmp_path / "m").exists()


def test_a_run_that_explodes_stops_and_saves_nothing(store, tmp_path):
    wild = FAST_PDGAN.model_copy(update={"lambda_l": 1e38, "generator_lr": 1e30})
    with pytest.raises(TrainingError, match="pdgan-generator: g_l1 became"):
        pretrain(str(store), tmp_path / "p", PretrainConfig(pdgan=wild, **FAST))
    assert [p.name for p in (tmp_path / "p").iterdir()] == ["tensorboard"]


@pytest.mark.parametrize("stage", ["pretrain", "finetune", "evaluate"])
def test_an_out_that_cannot_be_written_is_named_before_any_work(trained, tmp_path, stage):
    out = tmp_path / "file"
    out.write_text("")

    def progress(*args: object) -> None:
        pytest.fail("trained first")

    store = str(trained.store)
    run = {
        "pretrain": lambda: pretrain(store, out, PretrainConfig(pdgan=FAST_PDGAN, **FAST), progress),
        "finetune": lambda: finetune(store, out, FinetuneConfig(epochs=1, **FAST), progress),
        "evaluate": lambda: evaluate(store, trained.model, out),
    }[stage]
    with pytest.raises(TrainingError, match=f"{out}: .*--out expects a folder"):
        run()


@pytest.mark.parametrize("settings", [{"batch": 7}, {"dev_share": 0}, {"pdgan": {"depth_size": 100}}, {"epoch": 3}])
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValidationError):
        PretrainConfig(**settings)
