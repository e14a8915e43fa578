"""`pseudodepth train`: any method on a store; `train-liveness`: PDGAN from a store to its report; and `--set`, by which
training commands take all of their settings."""

import copy
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.progress import progress_line
from training.errors import TrainingError

app = typer.Typer()

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="any setting by its dotted name, as loop.ema=0.999; repeat"),
]


def overlaid(options: dict[str, Any], sets: list[str] | None) -> dict[str, Any]:
    """Options with NAME=VALUE texts laid over them; values are read as YAML, so numbers, lists and null are themselves.

    Raises:
        TrainingError: for a text of another form.
    """
    import yaml

    for text in sets or ():
        name, equals, value = text.partition("=")
        *parents, last = name.split(".")
        inner = options
        for parent in parents:
            inner = inner.setdefault(parent, {})
        if not equals or not last or not isinstance(inner, dict):
            raise TrainingError(f"--set {text}: expected NAME=VALUE, as loop.ema=0.999 or augment.geometry.rotation=20")
        try:
            inner[last] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise TrainingError(f"--set {text}: {value!r} is not a YAML value") from error
    return options


@app.command()
def train(
    store: Annotated[str, typer.Argument(metavar="STORE", help="folder of a store; STORE@N opens snapshot N")],
    out: Annotated[Path, typer.Option("--out", "-o", help="folder to write")],
    method: Annotated[str, typer.Option(help="name of a method; a wrong one lists them")],
    protocol: Annotated[str | None, typer.Option(help="name of a protocol, or a YAML file")] = None,
    seed: Annotated[int, typer.Option(help="everything random follows from it")] = 0,
    sets: SetOption = None,
) -> None:
    """Train one method, and freeze its threshold on the dev split; its own settings are `--set settings.NAME=VALUE`."""
    from training.config import TrainConfig
    from training.methods import get_method
    from training.train import train as run_training

    chosen = get_method(method)
    options = overlaid(copy.deepcopy({**chosen.run, "protocol": protocol, "seed": seed}), sets)
    settings = chosen.settings.model_validate(options.pop("settings", {}))
    config = TrainConfig.model_validate(options)
    with progress_line(method, 0, "steps") as advance:
        done = 0

        def progress(_stage: str, count: int, total: int, figures: dict[str, float]) -> None:
            nonlocal done
            advance(count - done, "  ".join(f"{k} {v:.4g}" for k, v in figures.items()), total=total)
            done = count

        run_training(store, out, chosen, settings, config, progress)
    print(f"model: {out}")


@app.command("train-liveness")
def train_liveness(
    store: Annotated[str, typer.Argument(metavar="STORE", help="folder or URL of a store; STORE@N opens snapshot N")],
    out: Annotated[Path, typer.Option("--out", "-o", help="folder for gan/, model/, evaluation/ and report.html")],
    protocol: Annotated[str | None, typer.Option(help="name of a protocol, or a YAML file")] = None,
    seed: Annotated[int, typer.Option(help="everything random follows from it")] = 0,
    sets: SetOption = None,
) -> None:
    """PDGAN in one go: pre-train, finetune, evaluate, report; settings are those of its steps.

    `--set pretraining.NAME=VALUE`, as in `pretrain`, and `--set finetuning.NAME=VALUE`, as in `finetune`.
    """
    from flows.run import run_train_liveness

    options: dict[str, Any] = {part: {"protocol": protocol, "seed": seed} for part in ("pretraining", "finetuning")}
    if unknown := set(overlaid(options, sets)) - {"pretraining", "finetuning"}:
        raise TrainingError(f"--set {min(unknown)}: settings here begin with `pretraining.` or `finetuning.`")
    run_train_liveness(store, out, options)
