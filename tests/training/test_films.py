"""FAS-SGTD, both stages in one run, on clips of films like the demo's: a person, a print of them, a screen."""

import pytest

from tests.fixtures.demo_store import build_film_store
from training.config import LoopConfig, TrainConfig
from training.evaluate import evaluate
from training.methods import get_method
from training.methods.fas_sgtd import SGTDConfig
from training.methods.fas_sgtd_single import SGTDSingleConfig
from training.train import train


@pytest.mark.slow
def test_both_stages_beat_chance_clearly_on_films(tmp_path):
    store = build_film_store(tmp_path / "films", {"train": 6, "test": 4})
    single = SGTDSingleConfig(width=0.125, epochs=16, lr=2e-3)
    settings = SGTDConfig(single=single, epochs=10, optimiser="adam", lr=1e-3, interval=1)
    config = TrainConfig(batch=4, input_size=64, device="cpu", loop=LoopConfig(track=()))
    model = train(str(store), tmp_path / "model", get_method("fas-sgtd"), settings, config)
    rates = evaluate(str(store), model, tmp_path / "evaluation").metrics
    assert (rates.n_live, rates.n_per_attack) == (4, {"print": 4, "replay": 4})  # clips of four people
    assert rates.auc > 0.85
