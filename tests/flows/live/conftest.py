import pytest

from flows.predictor import Predictor
from simulation.film import simulate_film


@pytest.fixture(scope="session")
def predictor(shipped) -> Predictor:
    """Of an untrained model: what it says is nonsense, when and how it says it is real."""
    return Predictor(shipped)


@pytest.fixture(scope="session")
def film(tmp_path_factory):
    """A short simulated film as a file, and what each of its frames shows."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    return path, simulate_film(path, seconds=2, rate=10, seed=0)
