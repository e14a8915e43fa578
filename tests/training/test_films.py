"""FAS-SGTD, both stages in one run, on clips of films like the demo's: a person, a print of them, a screen."""

import pyarrow.parquet as pq
import pytest

from flows.predict import predict
from flows.predictor import Predictor
from tests.fixtures.demo_store import build_film_store
from training.config import LoopConfig, TrainConfig
from training.evaluate import evaluate
from training.export import export
from training.methods import get_method
from training.methods.fas_sgtd import SGTDConfig
from training.methods.fas_sgtd_single import SGTDSingleConfig
from training.train import train


@pytest.mark.slow
def test_both_stages_beat_chance_clearly_on_films_and_are_shipped(tmp_path):
    store = build_film_store(tmp_path / "films", {"train": 6, "test": 4})
    single = SGTDSingleConfig(width=0.125, epochs=16, lr=2e-3)
    settings = SGTDConfig(single=single, epochs=10, optimiser="adam", lr=1e-3, interval=1)
    config = TrainConfig(batch=4, input_size=64, device="cpu", loop=LoopConfig(track=()))
    model = train(str(store), tmp_path / "model", get_method("fas-sgtd"), settings, config)
    rates = evaluate(str(store), model, tmp_path / "evaluation").metrics
    assert (rates.n_live, rates.n_per_attack) == (4, {"print": 4, "replay": 4})  # clips of four people
    assert rates.auc > 0.85
    # the same scores without torch: of the store's clips, and of the films themselves
    shipped = Predictor(export(model, tmp_path / "shipped", int8=True), min_sharpness=0)
    rows = pq.read_table(tmp_path / "evaluation" / "scores.parquet").to_pylist()
    known = {f"{row['dataset']}:{row['path']}#{row['frame']}": row["score"] for row in rows}
    of_store = {found.path: found.score for found in predict(str(store), shipped, split="test")}
    assert of_store == pytest.approx(known, abs=1e-4)
    for row in rows:
        (found,) = predict(str(tmp_path / "films" / "films" / row["path"]), shipped)
        assert found.score == pytest.approx(row["score"], abs=1e-4)
        assert [clip["frame"] for clip in found.frames] == [row["frame"]]
    assert shipped.card.networks["int8"].drift.samples == shipped.card.training["split"]["dev"]["samples"]  # clips
