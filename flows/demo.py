"""The main job on one machine: photographs → simulated dataset → depth store → trained model → report.

pseudodepth demo --out demo
"""

import time
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.table import Table

from flows.inspect_store import show_depth_error
from flows.progress import progress_line
from flows.run import console, show_build, show_evaluation
from flows.source import Source
from simulation.dataset import SimulateConfig, Summary, simulate
from simulation.truth import depth_error
from tasks.config import BuildConfig
from tasks.errors import BuildError

NOTICE = (
    "Simulated data. Every subject is a photograph re-rendered in 3-D, every attack is drawn by "
    "a program. Accuracy on it says nothing about real attacks."
)
# What two cores train in two to four minutes; tiny only shows that the parts fit together. The generator learns ten
# times faster than published: at 1e-4 the few hundred steps of a demo leave its maps noise.
SCHEDULE = {
    "tiny": {"warmup": 2, "adversarial": 1, "finetune": 2, "batch": 16},
    "small": {"warmup": 5, "adversarial": 7, "finetune": 8, "batch": 32},
}
DEPTH_SIZE, GENERATOR_LR = 56, 1e-3


def run_demo(out: Path, *, size: str, store_format: str, workers: int, seed: int) -> Path:
    """Run everything under `out`, print a summary, and return the path of the report.

    A second run with the same options reuses the dataset and the store and trains again.
    """
    started = time.monotonic()
    out = out.resolve()
    dataset, store, run = out / "dataset", out / "store", out / "run"
    console.print(NOTICE, style="bold")
    simulate_dataset(dataset, None, {"size": size, "seed": seed}, workers)

    from flows.api import prefect_api
    from training.evaluate import Evaluation
    from training.finetune import FinetuneConfig
    from training.methods.pdgan import PDGANConfig
    from training.pretrain import PretrainConfig

    config = BuildConfig.model_validate(
        {"store": {"format": store_format}, "view": {"views": 2}, "shard_samples": 256, "seed": seed}
    )
    plan = SCHEDULE[size]
    pdgan = PDGANConfig(
        depth_size=DEPTH_SIZE,
        generator_lr=GENERATOR_LR,
        warmup_epochs=plan["warmup"],
        adversarial_epochs=plan["adversarial"],
    )
    with prefect_api():
        from flows.build_depth import build_depth
        from flows.cluster import DaskConfig
        from flows.train import train_liveness

        source = Source(name="celeba-spoof", root=str(dataset))
        show_build(build_depth([source], str(store), config, DaskConfig(workers=workers)))
        error = depth_error(str(store), dataset)
        show_depth_error(error)
        result = train_liveness(
            str(store),
            str(run),
            PretrainConfig(batch=plan["batch"], seed=seed, pdgan=pdgan),
            FinetuneConfig(batch=plan["batch"], seed=seed, epochs=plan["finetune"]),
            {"title": "pseudodepth demo", "simulated": NOTICE, "truth": error.rows()},
        )
    assert isinstance(result, Evaluation), "without a policy it always trains"
    show_evaluation(result)
    report = run / "report.html"
    console.print(f"report: {report}   ({time.monotonic() - started:.0f} s in all)")
    console.print(NOTICE, style="bold")
    return report


def simulate_dataset(out: Path, photos: Path | None, options: dict[str, Any], workers: int) -> Summary:
    """Simulate a dataset with a progress line; print what was made and what was skipped.

    Raises:
        BuildError: for an option that `SimulateConfig` refuses, naming it.
    """
    try:
        config = SimulateConfig.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        raise BuildError(f"simulate, {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    with progress_line("simulate", 0, "pictures") as advance:
        done = 0

        def progress(count: int, total: int) -> None:
            nonlocal done
            advance(count - done, total=total)
            done = count

        summary = simulate(photos, out, config, progress=progress, workers=workers)
    table = Table(
        title=f"{summary.out}{' (was there)' if summary.reused else ''}", show_header=False, title_justify="left"
    )
    table.add_row("subjects", f"{summary.train_subjects} train, {summary.test_subjects} test")
    attacks = ", ".join(f"{count:,} {name}" for name, count in summary.attacks.items())
    table.add_row("pictures", f"{summary.pictures:,}: {summary.live:,} live, {attacks}")
    table.add_row("photographs left out", str(len(summary.unusable)))
    console.print(table)
    for left in summary.unusable:
        console.print(f"left out: {left.photo}: {left.reason}, {left.detail}")
    return summary
