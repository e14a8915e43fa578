"""The `pseudodepth` command: each subcommand is one flow, or one function, with typed options.

Only this module and light ones are imported for `--help`; Prefect, torch and the rest load when a command runs.
"""

import atexit
import gc
import sys
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from flows.cli_experiment import app as experiment_app
from flows.cli_live import app as live_app
from flows.cli_methods import app as methods_app
from flows.cli_models import Fusion
from flows.cli_models import app as models_app
from flows.cli_prefect import app as prefect_app
from flows.cli_prnet import app as prnet_app
from flows.cli_sources import app as sources_app
from flows.cli_store import app as store_app
from flows.cli_train import SetOption, overlaid
from flows.cli_train import app as train_app
from flows.interrupt import end_orderly
from flows.progress import progress_line
from flows.settings import prepare_environment, settings
from liveness.errors import ModelError
from prnet.errors import WeightsError
from storage.errors import StoreError
from tasks.errors import BuildError
from training.errors import TrainingError

if TYPE_CHECKING:
    from tasks.config import BuildConfig

app = typer.Typer(
    name="pseudodepth",
    help="Face anti-spoofing datasets to RGB + pseudo-depth stores, and the liveness models trained on them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
app.add_typer(prnet_app)
app.add_typer(sources_app)
app.add_typer(store_app)
app.add_typer(train_app)
app.add_typer(experiment_app)
app.add_typer(methods_app)
app.add_typer(models_app)
app.add_typer(live_app)
app.add_typer(prefect_app)

StoreArgument = Annotated[
    str, typer.Argument(metavar="STORE", help="folder or URL of a store; STORE@N opens snapshot N")
]
OutOption = Annotated[Path, typer.Option("--out", "-o", help="folder to write")]
WorkersOption = Annotated[int | None, typer.Option(min=1, help="worker processes; default: one a core")]
SeedOption = Annotated[int, typer.Option(help="everything random follows from it")]
ProtocolOption = Annotated[
    str | None, typer.Option(help="name of a protocol (`pseudodepth protocols`), or a YAML file of your own")
]


INTERRUPTED = 130


class Format(StrEnum):
    """The formats of a store."""

    hdf5 = "hdf5"
    parquet = "parquet"


class Size(StrEnum):
    """How much the demo simulates."""

    tiny = "tiny"
    small = "small"


def main() -> None:
    """Run the command line; a known error is one line on stderr and exit code 2."""
    prepare_environment()
    end_orderly()
    # a million objects are imported and none is garbage: looked for less often, and not at the end (1 s of a build)
    gc.set_threshold(50_000, 20, 50)
    atexit.register(gc.freeze)
    try:
        app()
    except (BuildError, ModelError, StoreError, TrainingError, WeightsError) as error:
        print(f"pseudodepth: {error}", file=sys.stderr)
        sys.exit(2)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join([error.title, *map(str, first["loc"])])
        print(f"pseudodepth: {name}: {first['msg']}, got {first['input']!r}", file=sys.stderr)
        sys.exit(2)
    except SystemExit as end:
        if end.code == INTERRUPTED:  # Typer's answer to KeyboardInterrupt
            print("pseudodepth: interrupted; what is finished is kept and the next run continues", file=sys.stderr)
        raise


@app.command()
def demo(
    out: OutOption = Path("demo"),
    size: Annotated[Size, typer.Option(help="tiny: 120 pictures; small: 1,200")] = Size.small,
    store_format: Annotated[Format, typer.Option("--format")] = Format.hdf5,
    workers: WorkersOption = None,
    seed: SeedOption = 0,
) -> None:
    """Photographs to a simulated dataset, a depth store, a trained model and a report; no server, no GPU."""
    from flows.demo import run_demo

    run_demo(out, size=size.value, store_format=store_format.value, workers=workers or settings().workers, seed=seed)


@app.command()
def simulate(
    out: OutOption,
    photos: Annotated[
        Path | None, typer.Option(help="folder of portraits, one subject each; default: two packaged photographs")
    ] = None,
    size: Annotated[Size, typer.Option(help="8 subjects or 24; with --photos: pictures a subject")] = Size.small,
    subjects: Annotated[
        int | None, typer.Option(min=2, help="take so many of --photos, chosen by seed; default: all")
    ] = None,
    live: Annotated[int | None, typer.Option(min=1, help="live pictures a subject")] = None,
    spoof: Annotated[int | None, typer.Option(min=1, help="spoof pictures a subject")] = None,
    attack: Annotated[list[str] | None, typer.Option(help="print, replay or papercut; repeat for several")] = None,
    camera: Annotated[list[str] | None, typer.Option(help="phone, webcam or dslr; repeat for several")] = None,
    media: Annotated[str | None, typer.Option(help="papers and screens of the attacks: all, office or home")] = None,
    workers: WorkersOption = None,
    seed: SeedOption = 0,
) -> None:
    """Make a simulated dataset in the CelebA-Spoof layout, with the exact depth of every live picture beside it."""
    from flows.demo import NOTICE, simulate_dataset
    from flows.run import console

    options: dict[str, Any] = {"size": size.value, "seed": seed, "live": live, "spoof": spoof, "subjects": subjects}
    options |= {"attacks": attack or None, "cameras": camera or None, "media": media}
    simulate_dataset(out, photos, given(options), workers or settings().workers)
    console.print(NOTICE)


@app.command()
def build(
    sources: Annotated[
        list[str], typer.Argument(metavar="NAME[:DATASET]=ROOT...", help="datasets, as celeba-spoof=/data/CelebA")
    ],
    store: Annotated[str, typer.Option(help="folder or URL of the store; made where it does not exist")],
    config: Annotated[Path | None, typer.Option(help="YAML file of build settings; options below win over it")] = None,
    store_format: Annotated[Format | None, typer.Option("--format", help="default: hdf5")] = None,
    views: Annotated[
        int | None, typer.Option(min=1, help="geometric variants a sample; the first is the plain crop")
    ] = None,
    detector: Annotated[str | None, typer.Option(help="retinaface, retinaface-resnet50, face-alignment, given")] = None,
    detector_weights: Annotated[Path | None, typer.Option(help="weights file of the detector")] = None,
    aligner: Annotated[str | None, typer.Option(help="auto, facemesh, prnet, face-alignment")] = None,
    face_landmarker: Annotated[Path | None, typer.Option(help="face_landmarker.task of your own")] = None,
    prnet_weights: Annotated[Path | None, typer.Option(help="imported PRNet weights (.safetensors)")] = None,
    choose: Annotated[str | None, typer.Option(help="of many faces: nearest (to the given box) or largest")] = None,
    shard_samples: Annotated[int | None, typer.Option(min=1, help="samples a shard")] = None,
    dask: Annotated[str | None, typer.Option(help="existing Dask scheduler, tcp://host:port")] = None,
    workers: WorkersOption = None,
    seed: Annotated[int | None, typer.Option(help="everything random follows from it")] = None,
    checksum: Annotated[bool, typer.Option("--checksum", help="compare by content; reads every file")] = False,
    refuse_leaks: Annotated[bool, typer.Option("--refuse-leaks", help="end if a subject is in two splits")] = False,
    dataset: Annotated[list[str] | None, typer.Option(help="build only this dataset; repeat for several")] = None,
    split: Annotated[list[str] | None, typer.Option(help="build only this split")] = None,
    subject: Annotated[list[str] | None, typer.Option(help="build only these: 'siw/1*', or siw/1..siw/90")] = None,
    since: Annotated[datetime | None, typer.Option(help="build only files changed at this time (UTC) or later")] = None,
    until: Annotated[datetime | None, typer.Option(help="build only files changed before this time (UTC)")] = None,
    only_failed: Annotated[bool, typer.Option("--only-failed", help="try the store's rejects again")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say what would be done, and how long it would take")
    ] = False,
) -> None:
    """Bring a store up to date with its datasets; what has not changed is not done again."""
    from flows.run import run_build
    from tasks.selection import Selection

    options: dict[str, Any] = {
        "store.format": store_format,
        "view.views": views,
        "detect.detector": detector,
        "detect.weights": detector_weights or settings().detector_weights,
        "detect.choose": choose,
        "align.aligner": aligner,
        "align.face_landmarker": face_landmarker or settings().face_landmarker,
        "align.prnet_weights": prnet_weights or settings().prnet_weights,
        "shard_samples": shard_samples,
        "seed": seed,
    }
    part = {"datasets": dataset, "splits": split, "subjects": subject, "since": since, "until": until}
    only = Selection.model_validate({**given(part), "failed": only_failed})
    settled = build_config(config, options)
    checks = {"checksum": checksum, "refuse_leaks": refuse_leaks}
    run_build(sources, store, settled, dask=dask, workers=workers, only=only, dry_run=dry_run, **checks)


@app.command()
def pretrain(
    store: StoreArgument,
    out: OutOption,
    warmup_epochs: Annotated[int | None, typer.Option(min=0, help="epochs of L1 alone; default: the paper's 5")] = None,
    adversarial_epochs: Annotated[int | None, typer.Option(min=0, help="epochs with the critic; the paper's 7")] = None,
    depth_size: Annotated[int | None, typer.Option(help="side of the generated map: 32, 56, 112 or 224")] = None,
    batch: Annotated[int | None, typer.Option(min=2)] = None,
    protocol: ProtocolOption = None,
    seed: SeedOption = 0,
    sets: SetOption = None,
) -> None:
    """PDGAN: pre-train the encoder to generate pseudo-depth."""
    from flows.run import run_pretrain

    pdgan = {"warmup_epochs": warmup_epochs, "adversarial_epochs": adversarial_epochs, "depth_size": depth_size}
    options = given({"pdgan": given(pdgan), "batch": batch, "protocol": protocol, "seed": seed})
    run_pretrain(store, out, overlaid(options, sets))


@app.command()
def finetune(
    store: StoreArgument,
    out: OutOption,
    encoder: Annotated[
        Path | None, typer.Option(help="folder of a pre-training; without it: He initialisation")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1)] = None,
    batch: Annotated[int | None, typer.Option(min=2)] = None,
    protocol: ProtocolOption = None,
    seed: SeedOption = 0,
    sets: SetOption = None,
) -> None:
    """Train the liveness classifier and freeze its threshold on the dev split."""
    from flows.run import run_finetune

    options = {"encoder": encoder, "epochs": epochs, "batch": batch, "protocol": protocol, "seed": seed}
    run_finetune(store, out, overlaid(given(options), sets))


@app.command()
def evaluate(
    store: StoreArgument,
    model: Annotated[Path, typer.Argument(help="folder of a trained model")],
    out: OutOption,
    split: Annotated[str, typer.Option(help="split to score")] = "test",
    protocol: ProtocolOption = None,
    threshold: Annotated[
        str, typer.Option(help="of those that the model carries from dev: eer, bpcer10/5/1, apcer10/5/1")
    ] = "eer",
    fusion: Annotated[Fusion, typer.Option(help="how the frames of a video become one score")] = Fusion.mean,
    by: Annotated[
        list[str] | None,
        typer.Option(help="column or key of `extra` to break down by; repeat; default: all"),
    ] = None,
    seen_subjects: Annotated[bool, typer.Option("--seen-subjects", help="score trained-on subjects too")] = False,
) -> None:
    """APCER, BPCER, ACER, HTER, EER, AUC and F1 at the model's own threshold, the oracle beside it."""
    from flows.run import run_evaluate

    options = {
        "protocol": protocol,
        "threshold": threshold,
        "fusion": fusion.value,
        "groups": by,
        "seen_subjects": seen_subjects,
    }
    run_evaluate(store, model, out, split, options)


@app.command()
def inspect(
    store: StoreArgument,
    sheet: Annotated[Path | None, typer.Option(help="also draw a contact sheet, a .png")] = None,
    quality: Annotated[
        Path | None, typer.Option(help="also draw how quality is distributed and the worst 50 kept samples, a .png")
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(help="simulated dataset the store was made from: how far its depth is from exact"),
    ] = None,
) -> None:
    """Counts of a store by dataset, split, label and attack, rejects by reason, quality, and sheets of pictures."""
    from flows.inspect_store import inspect_store

    inspect_store(store, sheet, quality, truth)


@app.command()
def verify(store: StoreArgument) -> None:
    """Check every shard's checksum, schema and invariants; exit code 1 when anything is wrong."""
    from storage.verify import verify as verify_store

    with progress_line("verify", 0, "shards") as advance:
        report = verify_store(store, lambda _done, shards: advance(1, total=shards))
    for problem in report.problems:
        print(f"{problem.file}: {problem.problem}")
    print(
        f"{store}: {report.snapshots} snapshots, {report.shards} shards, {report.rows} rows, "
        f"{len(report.orphans)} files that no snapshot lists, {len(report.problems)} problems"
    )
    raise typer.Exit(1 if report.problems else 0)


def given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def build_config(file: Path | None, options: dict[str, Any]) -> "BuildConfig":
    """The build settings of a YAML file with the given options (dotted names; None = not given) laid over it.

    Raises:
        BuildError: naming the file or the option and what it accepts.
    """
    from pydantic import ValidationError

    from tasks.config import BuildConfig

    values: dict[str, Any] = {}
    if file is not None:
        import yaml

        try:
            values = yaml.safe_load(file.read_text()) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise BuildError(f"{file}: not a readable YAML file: {' '.join(str(error).split())}") from error
        if not isinstance(values, dict):
            raise BuildError(f"{file}: expected a mapping of build settings, found {type(values).__name__}")
    for dotted, value in given(options).items():
        *parents, name = dotted.split(".")
        inner = values
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise BuildError(f"{file}: {parent}: expected a mapping of settings, found {inner!r}")
        inner[name] = value
    try:
        return BuildConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise BuildError(
            f"build setting {'.'.join(map(str, first['loc']))}: {first['msg']}, got {first['input']!r}"
        ) from error
