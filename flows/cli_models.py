"""`pseudodepth report`, `export` and `predict`: what a trained model is worth, its shipped folder, and its use."""

import json
import sys
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()

ModelOption = Annotated[Path, typer.Option("--model", "-m", help="folder that `pseudodepth export` wrote")]


class Fusion(StrEnum):
    """How the scores of a video's frames become one."""

    mean = "mean"
    median = "median"
    max = "max"
    min = "min"


@app.command()
def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="folder of a trained model")],
    out: Annotated[Path, typer.Option("--out", "-o", help="folder to write; must not hold anything yet")],
    store: Annotated[
        str | None, typer.Option(help="store with the model's dev samples; default: the one it was trained on")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="also a quantised network, made with the dev samples")] = False,
    evaluation: Annotated[
        Path | None, typer.Option(help="folder of an evaluation, whose rates the model card shows")
    ] = None,
    licence: Annotated[str | None, typer.Option(help="of the weights: a line for model.json and the card")] = None,
    name: Annotated[str | None, typer.Option(help="of the model; default: its folder's")] = None,
) -> None:
    """Write ONNX, model.json, a model card and a golden picture; refused unless the scores are torch's."""
    from training.export import NOT_STATED
    from training.export import export as export_model

    folder = export_model(
        model,
        out,
        name=name,
        store=store,
        int8=int8,
        weights_licence=licence or NOT_STATED,
        evaluation=evaluation,
    )
    show_export(folder)


def show_export(folder: Path) -> None:
    """Print what was exported."""
    from liveness.card import read_card

    card = read_card(folder)
    for precision, network in card.networks.items():
        size = (folder / network.file).stat().st_size
        print(
            f"{folder / network.file}: {precision}, {size:,} bytes, dev threshold {network.thresholds['eer'].value:.6f}"
        )
        if network.drift:
            drift = network.drift
            print(
                f"  against fp32 on {drift.samples} dev samples: AUC {drift.auc:.4f} ({drift.auc_fp32:.4f}), "
                f"|score| differs by {drift.mean:.4f} on average, {drift.changed_decisions:.2%} of decisions changed"
            )
    if card.sharpness.least is None:
        print(f"no sharpness limit, {card.sharpness.source}")
    print(f"model card: {folder / 'README.md'}")


@app.command()
def report(
    store: Annotated[str, typer.Argument(metavar="STORE", help="the store that was evaluated")],
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="folder of the trained model")],
    evaluation: Annotated[Path, typer.Argument(metavar="EVALUATION", help="folder that `evaluate` wrote")],
    out: Annotated[Path, typer.Option("--out", "-o", help="the page; its figures come as .json beside it")],
    pretraining: Annotated[Path | None, typer.Option(help="folder of the pre-training, for its sections")] = None,
    title: Annotated[str | None, typer.Option()] = None,
) -> None:
    """One self-contained HTML page of a store, a model and what it is worth."""
    from training.evaluate import read_evaluation
    from training.report import write_report

    found = read_evaluation(evaluation)
    print(write_report(store, pretraining, model, found, out, {"title": title} if title else None))


@app.command()
def predict(
    target: Annotated[str, typer.Argument(metavar="IMAGE|DIR|VIDEO|STORE", help="what to score")],
    model: ModelOption,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
    threshold: Annotated[str, typer.Option(help="of those the model carries: eer, bpcer10/5/1, apcer10/5/1")] = "eer",
    int8: Annotated[bool, typer.Option("--int8", help="use the quantised network")] = False,
    frames: Annotated[int, typer.Option(min=1, help="frames (or clips) of a video, taken evenly")] = 8,
    fusion: Annotated[Fusion, typer.Option(help="how the frames of a video become one score")] = Fusion.mean,
    split: Annotated[str | None, typer.Option(help="of a store; default: all of it")] = None,
    min_face: Annotated[float | None, typer.Option(min=0, help="px; default: the model's")] = None,
    min_sharpness: Annotated[float | None, typer.Option(min=0, help="0 takes blurred faces too")] = None,
    detector_weights: Annotated[Path | None, typer.Option(help="weights file of the detector")] = None,
) -> None:
    """Live or spoof, with the score; or why there is none: no face, too small, blurred, no clip, unreadable."""
    from flows.predict import predict as predict_all
    from flows.predictor import Predictor

    predictor = Predictor(
        model,
        precision="int8" if int8 else "fp32",
        threshold=threshold,
        detector_weights=detector_weights,
        min_face=min_face,
        min_sharpness=min_sharpness,
    )
    states: Counter[str] = Counter()
    for found in predict_all(target, predictor, frames=frames, fusion=fusion.value, split=split):
        states[found.state] += 1
        if as_json:
            print(json.dumps(found.to_json(), allow_nan=False), flush=True)
        elif found.score is None:
            print(f"{found.path}: {found.state}: {found.reason}")
        else:
            note = f" ({found.reason})" if found.reason else ""
            print(f"{found.path}: {found.state}, score {found.score:.4f}, threshold {found.threshold:.4f}{note}")
    if not as_json and states.total() > 1:
        print(", ".join(f"{count:,} {state}" for state, count in states.most_common()), file=sys.stderr)
