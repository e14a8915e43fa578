"""A real Prefect server for the flows' tests, started once, and a small simulated dataset to build from."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flows.settings import prepare_environment
from tasks.config import BuildConfig

if TYPE_CHECKING:
    from flows.build_summary import BuildSummary

prepare_environment()  # before anything imports Prefect


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    # heartbeats nearly double the time of short flows
    quiet = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, PREFECT_LOGGING_TO_API_ENABLED: False}
    with prefect_test_harness(server_startup_timeout=120), temporary_settings(quiet):
        yield


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny simulated dataset in the CelebA-Spoof layout; read only."""
    from simulation.dataset import SimulateConfig, simulate

    root = tmp_path_factory.mktemp("simulated") / "dataset"
    simulate(None, root, SimulateConfig(size="tiny", seed=1), workers=2)
    return root


CONFIG = BuildConfig.model_validate({"view": {"views": 2}, "shard_samples": 40})


def run(root: Path, store: Path, config: BuildConfig = CONFIG, workers: int = 2) -> "BuildSummary":
    """The build flow over a dataset in the CelebA-Spoof layout."""
    from flows.build_depth import build_depth
    from flows.cluster import DaskConfig
    from flows.source import Source

    return build_depth([Source(name="celeba-spoof", root=str(root))], str(store), config, DaskConfig(workers=workers))


@pytest.fixture(scope="session")
def built(
    simulated: Path, tmp_path_factory: pytest.TempPathFactory, prefect_server: None
) -> tuple[Path, "BuildSummary"]:
    """A store of the simulated dataset, and what its build said; read only."""
    store = tmp_path_factory.mktemp("built") / "store"
    return store, run(simulated, store)
