"""What each command does on one machine: call the flow under an API of its own and print what came of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from flows.settings import settings
from flows.source import Source
from storage.snapshot import parse_store
from tasks.config import BuildConfig
from tasks.errors import BuildError
from tasks.plan import EVERYTHING
from tasks.selection import Selection
from tasks.sources import SOURCES
from tasks.sources.remote_path import root_of

if TYPE_CHECKING:
    from flows.build_summary import BuildSummary
    from tasks.sources import Scan
    from training.evaluate import Evaluation
    from training.intervals import Interval

console = Console()


def parse_sources(texts: list[str]) -> list[Source]:
    """`NAME=ROOT` or `NAME:DATASET=ROOT` texts as sources, checked before any work starts.

    Raises:
        BuildError: naming the text: not of that form, no such adapter, no such folder.
    """
    sources = []
    for text in texts:
        name, dataset, root = split_source(text)
        if name not in SOURCES:
            raise BuildError(f"'{name}': no such dataset adapter; there are {', '.join(sorted(SOURCES))}")
        place = root_of(root)
        if not place.exists():
            raise BuildError(f"{place}: no such folder; expected the root of {name}")
        sources.append(Source(name=name, root=str(place.resolve()), dataset=dataset))
    return sources


def split_source(text: str) -> tuple[str, str | None, str]:
    """`NAME=ROOT` or `NAME:DATASET=ROOT` as (name, dataset or None, root); BuildError for another form."""
    kind, equals, root = text.partition("=")
    name, _, dataset = kind.partition(":")
    if not equals or not root:
        raise BuildError(f"'{text}': expected NAME=ROOT, such as celeba-spoof=/data/CelebA_Spoof")
    return name, dataset or None, root


def run_build(
    sources: list[str],
    store: str,
    config: BuildConfig,
    *,
    dask: str | None = None,
    workers: int | None = None,
    checksum: bool = False,
    refuse_leaks: bool = False,
    only: Selection = EVERYTHING,
    dry_run: bool = False,
) -> "BuildSummary | None":
    """Run the build-depth flow and print its summary; with `dry_run` only say what it would do."""
    parse_store(store)  # a URL with credentials is refused before Prefect keeps it
    parsed = parse_sources(sources)
    if dry_run:
        from tasks.sources import scan

        scans = [scan(source.name, source.root, source.dataset) for source in parsed]
        show_estimate(store, scans, config.resolved(), only, workers or settings().workers, checksum=checksum)
        return None

    from flows.api import prefect_api

    with prefect_api():
        from flows.build_depth import build_depth
        from flows.cluster import DaskConfig

        summary = build_depth(
            parsed, store, config, DaskConfig(address=dask, workers=workers), checksum, only, refuse_leaks
        )
    show_build(summary)
    return summary


def show_estimate(
    store: str, scans: "list[Scan]", config: BuildConfig, only: Selection, workers: int, *, checksum: bool
) -> None:
    """Print what a build would do and what it would take."""
    from flows.dry_run import estimate

    found = estimate(store, scans, config, only, workers, checksum=checksum)
    plan = found.plan
    console.print(
        f"{store}: {plan.new:,} new, {plan.changed:,} changed, {plan.again:,} built again, {plan.copied:,} copied, "
        f"{plan.unchanged:,} unchanged, {plan.removed:,} removed media"
    )
    for reason in plan.why:
        console.print(f"why: {reason}")
    if not found.media:
        console.print("nothing to build")
        return
    console.print(
        f"{found.media:,} media, about {found.samples:,} samples: about {_duration(found.seconds)} on {found.workers} "
        f"workers and {found.disk / 1e9:,.2f} GB (from {found.probed} samples made in {found.probe_seconds:.1f} s)"
    )
    if found.gpu_memory:
        console.print(f"GPU memory of a worker: {found.gpu_memory / 1e9:.1f} GB")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def show_build(summary: "BuildSummary") -> None:
    """Print what a build did."""
    if not summary.committed:
        touched = f" ({summary.touched:,} files have other times and the same content)" if summary.touched else ""
        console.print(f"{summary.store}: nothing has changed{touched}; snapshot {summary.snapshot} stands")
        return
    table = Table(title=f"{summary.store}, snapshot {summary.snapshot}", show_header=False, title_justify="left")
    table.add_row(
        "media",
        f"{summary.media:,} ({summary.new:,} new, {summary.changed:,} changed, {summary.again:,} built again, "
        f"{summary.unchanged:,} unchanged, {summary.removed:,} removed)",
    )
    if summary.copied:
        table.add_row("copied", f"{summary.copied:,} of the unchanged, out of shards whose other media have gone")
    table.add_row("samples", f"{summary.samples:,}: {summary.live:,} live with depth, {summary.spoof:,} spoof")
    table.add_row("shards", f"{summary.shards} ({summary.planned} planned in this run)")
    table.add_row("rejects", ", ".join(f"{n} {reason}" for reason, n in sorted(summary.rejects.items())) or "none")
    ignored = ", ".join(f"{n:,} {reason}" for reason, n in sorted(summary.ignored.items()))
    table.add_row("ignored files", ignored or "none")
    stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in summary.stage_seconds.items())
    table.add_row(
        "seconds", f"{summary.seconds:.1f} (wall by stage, summed over workers: {stages or 'every shard was there'})"
    )
    console.print(table)


def run_pretrain(store: str, out: Path, options: dict[str, Any]) -> str:
    """Run the pretrain-gan flow."""
    parse_store(store)  # a URL with credentials is refused before Prefect keeps it
    from flows.api import prefect_api
    from training.pretrain import PretrainConfig

    config = PretrainConfig.model_validate(options)
    with prefect_api():
        from flows.train import pretrain_gan

        folder = pretrain_gan(store, str(out), config)
    console.print(f"encoder and generator: {folder}")
    return folder


def run_finetune(store: str, out: Path, options: dict[str, Any]) -> str:
    """Run the finetune flow."""
    parse_store(store)  # a URL with credentials is refused before Prefect keeps it
    from flows.api import prefect_api
    from training.finetune import FinetuneConfig

    config = FinetuneConfig.model_validate(options)
    with prefect_api():
        from flows.train import finetune

        folder = finetune(store, str(out), config)
    console.print(f"model: {folder}")
    return folder


def run_evaluate(store: str, model: Path, out: Path, split: str, options: dict[str, Any]) -> "Evaluation":
    """Run the evaluate flow (options: its other parameters) and print its figures."""
    parse_store(store)  # a URL with credentials is refused before Prefect keeps it
    from flows.api import prefect_api

    with prefect_api():
        from flows.train import evaluate

        result = evaluate(store, str(model), str(out), split, **options)
    show_evaluation(result)
    return result


def run_train_liveness(store: str, out: Path, options: dict[str, Any]) -> "Evaluation":
    """Run the train-liveness flow (options: `pretraining`, `finetuning`), print its figures and where its report is."""
    parse_store(store)  # a URL with credentials is refused before Prefect keeps it
    from flows.api import prefect_api
    from flows.train import train_liveness
    from training.evaluate import Evaluation
    from training.finetune import FinetuneConfig
    from training.pretrain import PretrainConfig

    pretraining = PretrainConfig.model_validate(options["pretraining"])
    finetuning = FinetuneConfig.model_validate(options["finetuning"])
    with prefect_api():
        result = train_liveness(store, str(out), pretraining, finetuning)
    assert isinstance(result, Evaluation), "without a policy it always trains"
    show_evaluation(result)
    console.print(f"model: {out / 'model'}\nreport: {out / 'report.html'}")
    return result


def show_evaluation(result: "Evaluation") -> None:
    """Print the figures at the dev threshold and, beside them, at the oracle's."""
    table = Table(
        "",
        f"dev threshold ({result.threshold})",
        "95 %",
        "oracle (chosen on the test scores)",
        title=f"{result.split} split",
        title_justify="left",
    )
    known = {**result.samples.intervals, **result.samples.bootstrap}
    for name in ("threshold", "APCER", "BPCER", "ACER", "HTER", "F1", "accuracy", "AUC", "EER"):
        fixed, oracle = (f"{getattr(figures, name.lower()):.4f}" for figures in (result.metrics, result.oracle))
        table.add_row(name, fixed, _bounds(known.get(name.lower())), oracle)
    for attack, rate in result.metrics.apcer_per_attack.items():
        bounds = _bounds(known[f"apcer:{attack}"])
        table.add_row(f"APCER {attack}", f"{rate:.4f}", bounds, f"{result.oracle.apcer_per_attack[attack]:.4f}")
    console.print(table)
    if result.protocol:
        figure = result.protocol["figure"]
        console.print(
            f"{result.protocol['name']}: {figure['name'].upper()} by {figure['level']}, attacks {figure['apcer']}: "
            f"{figure['value']:.4f}, oracle {figure['oracle']:.4f}",
            highlight=False,
        )
        for note in result.protocol["notes"]:
            console.print(note, highlight=False, markup=False)
    for kind in result.non_response:
        if kind.unscored:
            console.print(f"no score: {kind.unscored} of {kind.presentations - kind.unlabelled} {kind.kind}")
    if result.seen_subjects:
        console.print(f"{len(result.seen_subjects)} of these subjects were trained on: the rates flatter", style="bold")


def _bounds(interval: "Interval | None") -> str:
    return f"{interval.low:.4f} .. {interval.high:.4f}" if interval else ""
