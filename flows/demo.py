"""The main job on one machine: photographs → simulated dataset → depth store → trained model → report.

pseudodepth demo --out demo
"""

import time
from pathlib import Path

from flows.run import console, show_build, show_evaluation
from simulation.dataset import Summary
from simulation.truth import DepthError, depth_error
from tasks.augment import ViewConfig
from tasks.errors import BuildError
from tasks.shard import BuildConfig

NOTICE = (
    "These subjects are simulated: two public-domain photographs re-rendered in 3-D, their attacks drawn by a program. "
    "Accuracy on them says nothing about real attacks."
)


def run_demo(out: Path, *, size: str, store_format: str, workers: int, seed: int) -> Path:
    """Run everything under `out`, print a summary, and return the path of the report.

    A second run with the same options reuses the dataset and the store and trains again.
    """
    started = time.monotonic()
    console.print(NOTICE)
    dataset, store, run = out / "dataset", out / "store", out / "run"
    simulate_dataset(dataset, None, size=size, workers=workers, seed=seed)

    from flows.api import prefect_api
    from flows.build_depth import Source, build_depth
    from flows.cluster import DaskConfig
    from flows.train import train_liveness
    from training.config import FinetuneConfig, PretrainConfig

    config = BuildConfig.model_validate(
        {"store": {"format": store_format}, "view": ViewConfig(views=2), "shard_samples": 256}
    )
    with prefect_api():
        summary = build_depth(
            [Source(name="celeba-spoof", root=str(dataset.resolve()))],
            str(store.resolve()),
            config,
            DaskConfig(workers=workers),
        )
        show_build(summary)
        error = depth_error(str(store), dataset)
        show_depth_error(error)
        result = train_liveness(
            str(store.resolve()),
            str(run.resolve()),
            PretrainConfig.demo(size, seed),
            FinetuneConfig.demo(size, seed),
            notes={"notice": NOTICE, "depth_error": error.sentence()},
        )
    show_evaluation(result)
    report = run / "report.html"
    console.print(f"report: {report}   ({time.monotonic() - started:.0f} s in all)")
    console.print(NOTICE)
    return report


def simulate_dataset(
    out: Path,
    photos: Path | None,
    *,
    size: str,
    cameras: list[str] | None = None,
    media: list[str] | None = None,
    attacks: list[str] | None = None,
    workers: int | None = None,
    seed: int = 0,
) -> Summary:
    """Simulate a dataset with a progress line and print what was made and what was skipped."""
    raise BuildError("written against simulation.dataset below")


def show_depth_error(error: DepthError) -> None:
    """Print how far the labels are from the renderer's exact depth."""
    console.print(error.sentence())
