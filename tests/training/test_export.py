"""A trained model to a folder for a runtime: torch's scores, its dev samples found again, int8, a card for people."""

import numpy as np
import onnx
import pytest

from liveness.card import read_card
from liveness.model import LivenessModel
from storage.dataset import DepthDataset
from tests.fixtures.balls import build_store
from tests.fixtures.shipped import SIZE, save_untrained
from training import metrics
from training.checkpoint import load_json
from training.dev_crops import DevCrops
from training.errors import TrainingError
from training.evaluate import read_scores
from training.export import export


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """The model trained on balls, with its int8 network and an evaluation's rates."""
    out = tmp_path_factory.mktemp("exported") / "model"
    return export(trained.model, out, name="balls", int8=True, evaluation=trained.model.parent / "eval")


def test_the_folder_holds_what_is_shipped_and_nothing_else(exported):
    assert sorted(p.name for p in exported.iterdir()) == [
        "README.md",
        "golden.png",
        "model.int8.onnx",
        "model.json",
        "model.onnx",
    ]
    assert [p.name for p in exported.parent.iterdir()] == [exported.name]  # no working folder is left


def test_the_shipped_scores_are_those_of_the_evaluation(trained, exported):
    """Another runtime, pixels by way of the store: the very scores that `evaluate` wrote."""
    data = DepthDataset(str(trained.store), where={"split": "test", "view": 0})
    crops = np.stack([item["image"].permute(1, 2, 0).numpy() for item in data.__getitems__(range(len(data)))])
    known = read_scores(trained.model.parent / "eval" / "scores.parquet")
    assert data.table.column("sample_id").to_pylist() == known.sample_id.tolist()
    assert LivenessModel(exported).score(crops) == pytest.approx(known.score, abs=1e-6)


def test_thresholds_are_the_models_own(trained, exported):
    card, shipped = load_json(trained.model / "model.json"), LivenessModel(exported)
    assert shipped.threshold().value == card["threshold"]["value"]
    assert shipped.thresholds.keys() == card["thresholds"].keys()
    assert shipped.threshold("apcer1").limit == 0.01


def test_int8_has_thresholds_of_its_own_and_says_what_it_costs(trained, exported):
    small = LivenessModel(exported, "int8")
    card = load_json(trained.model / "model.json")
    dev = DevCrops.find(DepthDataset(str(trained.store)), card)
    scores = dev.scores(np.concatenate([small.score(batch) for batch in dev.batches()]))
    drift = small.card.networks["int8"].drift
    assert small.threshold().value == pytest.approx(metrics.eer_threshold(scores).value)
    assert drift.auc == pytest.approx(metrics.auc(scores))
    assert drift.samples == len(dev.rows)
    assert abs(drift.auc - drift.auc_fp32) < 0.01
    assert 0 < drift.mean <= drift.largest
    sizes = [(exported / name).stat().st_size for name in ("model.int8.onnx", "model.onnx")]
    assert sizes[0] < sizes[1] / 2.5


def test_the_graph_has_nothing_of_this_machine_in_it(exported, trained, tmp_path):
    model = onnx.load(str(exported / "model.onnx"))
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")  # three bytes of weights may well spell .py
    text = model.SerializeToString()
    for words in (b"site-packages", b".py", str(tmp_path.parent).encode()):
        assert words not in text
    assert [i.name for i in model.graph.input] == ["image"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for name in ("model.json", "README.md"):  # people who were trained on are counted, not named
        assert "balls/s1" not in (exported / name).read_text()


def test_equal_models_give_equal_files(exported, trained, tmp_path):
    again = export(trained.model, tmp_path / "again", name="balls")
    for name in ("model.onnx", "golden.png"):
        assert (again / name).read_bytes() == (exported / name).read_bytes()


def test_the_model_card_says_what_it_is_worth_and_what_it_is_not_for(exported, trained):
    text = (exported / "README.md").read_text()
    card = read_card(exported)
    for words in (
        "712,465",
        f"{card.networks['fp32'].golden_score:.6f}",
        "APCER print",
        f"{trained.evaluation.metrics.bpcer:.4f}",
        "injected video",
        "* balls",
        "int8 against fp32",
    ):
        assert words in text, words
    assert "certified" not in text.lower()


def test_blurred_is_what_live_dev_crops_are_not(trained, exported):
    limit = read_card(exported).sharpness
    assert limit.least > 0
    assert "live dev crops" in limit.source


def test_without_its_store_a_model_is_exported_and_says_what_it_lacks(shipped):
    card = read_card(shipped)
    assert card.sharpness.least is None
    assert "/nowhere" in card.sharpness.source
    assert card.licence.data == ["unknown"]


@pytest.mark.parametrize(
    ("options", "said"),
    [({"int8": True}, "int8 needs the dev samples.*--store"), ({"store": "/nowhere/else"}, "/nowhere/else: no")],
)
def test_dev_samples_that_are_not_to_be_had_are_said(shipped, tmp_path, options, said):
    with pytest.raises(TrainingError, match=said):
        export(shipped.parent / "run", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_another_store_is_not_taken_for_the_models_own(trained, tmp_path):
    other = build_store(tmp_path / "other", {"train": ["a", "b", "c", "d"]}, each=4)
    with pytest.raises(TrainingError, match=r"not those that set the model's threshold"):
        export(trained.model, tmp_path / "out", store=str(other))


def test_an_export_never_mixes_with_what_is_there(shipped, tmp_path):
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(TrainingError, match="not an empty folder"):
        export(shipped.parent / "run", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["kept.txt"]


def test_an_evaluation_of_other_weights_is_refused(shipped, trained, tmp_path):
    with pytest.raises(TrainingError, match="an evaluation of other weights"):
        export(shipped.parent / "run", tmp_path / "out", evaluation=trained.model.parent / "eval")


def test_a_store_without_a_crop_rule_cannot_be_exported(tmp_path):
    with pytest.raises(TrainingError, match="no build settings"):
        export(save_untrained(tmp_path / "bare", build={"size": SIZE}), tmp_path / "out")


def test_a_graph_that_is_not_torchs_is_never_written(shipped, tmp_path, monkeypatch):
    monkeypatch.setattr("training.export.GOLDEN_TOLERANCE", 1.0)
    monkeypatch.setattr(LivenessModel, "score", lambda self, crops: self._graph.score(crops) + 1e-3)
    with pytest.raises(TrainingError, match=r"differ from torch's by 0\.001 on the golden picture"):
        export(shipped.parent / "run", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
