"""`pseudodepth prnet ...`: import somebody's weights, train your own, judge them."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.settings import settings
from prnet.errors import WeightsError

if TYPE_CHECKING:
    from prnet.train.evaluate import Figures

app = typer.Typer(name="prnet", help="PRNet's weights: import them, train your own, judge them.", no_args_is_help=True)


@app.command("import")
def import_weights(
    checkpoint: Annotated[
        Path, typer.Argument(help="TensorFlow checkpoint (its name or one of its files), or a torch state dict")
    ],
    uv: Annotated[Path, typer.Option(help="PRNet's Data/uv-data folder")],
    out: Annotated[Path, typer.Option("--out", "-o", help="weights file to write")] = Path("prnet.safetensors"),
    names: Annotated[
        Path | None, typer.Option(help="JSON object, our tensor names to those of the torch state dict")
    ] = None,
) -> None:
    """Read PRNet's released checkpoint, or another one, check every tensor and write prnet.safetensors."""
    from prnet.checkpoint import import_checkpoint

    report = import_checkpoint(checkpoint, uv, out, _names(names) if names else None)
    print(
        f"{report.out}: {report.tensors} tensors, {report.floats:,} floats, width {report.width:g}, "
        f"size {report.size}; {report.vertices:,} vertices, {report.triangles:,} triangles"
    )
    if report.left_out:
        print(f"left out, no part of the network: {len(report.left_out)} tensors, such as {report.left_out[0]}")
    for name, digest in report.source_sha256.items():
        print(f"from {name}, sha256 {digest}")
    if report.released:
        print("These are the released weights: free for research purposes at best (yfeng95/PRNet, issue 28).")


def _names(path: Path) -> dict[str, str]:
    """The name map of a JSON file; WeightsError if it is not one."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: not a readable JSON file: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise WeightsError(
            f'{path}: expected an object of tensor names, such as {{"stem.conv.weight": "conv1.weight"}}'
        )
    return content


@app.command()
def train(
    out: Annotated[Path, typer.Option("--out", "-o", help="folder of the run; a run that was stopped goes on there")],
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=ROOT...]", help="datasets whose live media are learned from")
    ] = None,
    photos: Annotated[Path | None, typer.Option(help="folder of live pictures, one person a file")] = None,
    width: Annotated[float | None, typer.Option(help="of the network, in sixteenths; 1 is the published one")] = None,
    size: Annotated[int | None, typer.Option(help="side of its crops, a multiple of 32")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="batches to train on")] = None,
    batch: Annotated[int | None, typer.Option(min=2)] = None,
    learning_rate: Annotated[float | None, typer.Option()] = None,
    halve_every: Annotated[int | None, typer.Option(min=1, help="steps until the learning rate is halved")] = None,
    heads: Annotated[
        int | None, typer.Option(min=0, help="rendered heads to train on; 0: new ones for every batch")
    ] = None,
    head_share: Annotated[float | None, typer.Option(help="of rendered heads in a batch")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda")] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="curves (extra `tensorboard`)")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="processes that find and render faces")] = None,
    seed: Annotated[int, typer.Option(help="everything random follows from it")] = 0,
) -> None:
    """Train PRNet on your own live pictures: the face mesh teaches, rendered heads add depth and large poses."""
    options: dict[str, Any] = {
        "width": width,
        "size": size,
        "steps": steps,
        "batch": batch,
        "learning_rate": learning_rate,
    }
    options |= {"halve_every": halve_every, "device": device, "tensorboard": tensorboard, "seed": seed}
    faces = {"heads": heads, "head_share": head_share}
    given, given_faces = (
        {name: value for name, value in part.items() if value is not None} for part in (options, faces)
    )
    run_train(out, photos, sources or [], given, given_faces, workers or settings().workers)


def run_train(
    out: Path, photos: Path | None, sources: list[str], options: dict[str, Any], faces: dict[str, Any], workers: int
) -> None:
    """Run the prnet-train flow and print its figures. ValidationError for an option out of range."""
    from flows.run import console, parse_sources

    parsed = parse_sources(sources)

    from flows.api import prefect_api
    from flows.prnet_faces import FacesConfig
    from flows.prnet_train import prnet_train
    from prnet.train.loop import TrainConfig

    config, faces_config = TrainConfig.model_validate(options), FacesConfig.model_validate(faces)
    with prefect_api():
        result = prnet_train(str(out), str(photos) if photos else None, parsed, config, faces_config, workers=workers)
    show_figures("held-out people, this network", result.figures)
    if result.facemesh:
        show_figures("held-out people, the face mesh", result.facemesh)
    console.print(f"weights: {result.weights}")


@app.command()
def evaluate(
    weights: Annotated[Path | None, typer.Argument(help="of `prnet train`; default: those that come along")] = None,
    photos: Annotated[Path | None, typer.Option(help="folder of live pictures, one person a file")] = None,
    source: Annotated[list[str] | None, typer.Option(help="NAME=ROOT, a dataset whose live media are used")] = None,
    held_out: Annotated[
        float,
        typer.Option(min=0, max=1, help="share of the people: those that a training holds out for it; 1: all"),
    ] = 0.1,
    heads: Annotated[int, typer.Option(min=0, help="rendered heads to judge with; 0: none, or at least 8")] = 480,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of tables")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="processes that find and render faces")] = None,
    seed: Annotated[int, typer.Option(help="of the training whose held-out heads are meant")] = 0,
) -> None:
    """NME of a network on people that it was not trained on, by yaw; the face mesh's beside it."""
    from flows.prnet_evaluate import evaluate_prnet
    from flows.run import console, parse_sources

    datasets = [(one.name, one.root) for one in parse_sources(source or [])]
    judged = evaluate_prnet(
        weights, photos, datasets, held_out=held_out, heads=heads, workers=workers or settings().workers, seed=seed
    )
    if as_json:
        print(json.dumps(asdict(judged), indent=1))
        return
    show_figures("this network", judged.figures)
    if judged.facemesh:
        show_figures("the face mesh, on the same heads", judged.facemesh)
    for reason, count in sorted(judged.rejected.items()):
        console.print(f"left out: {count:,} {reason}")


def show_figures(title: str, figures: "list[Figures]") -> None:
    """Print NME in percent by source and yaw."""
    from rich.table import Table

    from flows.run import console

    table = Table(
        "against", "|yaw|", "faces", "68 points", "68 in 3-D", "dense", "dense in 3-D", title=f"NME in %, {title}",
        title_justify="left",
    )  # fmt: skip
    for row in figures:
        errors = (row.landmarks_2d, row.landmarks_3d, row.dense_2d, row.dense_3d)
        table.add_row(
            "the truth" if row.source == "rendered" else "the teacher",
            f"{row.yaw_from:.0f}..{row.yaw_to:.0f}°",
            f"{row.faces:,}",
            *(f"{value:.2f}" for value in errors),
        )
    console.print(table)
