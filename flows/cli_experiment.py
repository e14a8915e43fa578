"""`pseudodepth experiment`: a published table run over your stores; `experiments` lists those there are."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli_train import SetOption, overlaid
from training.errors import TrainingError

app = typer.Typer()


@app.command()
def experiment(
    name: Annotated[str, typer.Argument(metavar="NAME", help="see `pseudodepth experiments`; or a YAML file of yours")],
    stores: Annotated[list[str], typer.Argument(metavar="STORE…", help="where the protocol's samples are")],
    out: Annotated[Path, typer.Option("--out", "-o", help="folder to write; the same one continues a stopped run")],
    protocol: Annotated[
        str | None, typer.Option(help="instead of the experiment's; own-splits: the stores' train, dev and test")
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="repeat for several; default 0, 1 and 2")] = None,
    weights: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FILE", help="weights that rows ask for, as imagenet=FILE; repeat")
    ] = None,
    sets: SetOption = None,
) -> None:
    """Run the grid of a table, cell by cell, and write it: published figures, ours, and what could not be measured.

    Settings of every row: `--set settings.NAME=VALUE` (the method), `run.NAME` (the training), `pretrain.NAME`; of one:
    `--set rows.ROW.settings.NAME=VALUE`.
    """
    from flows.api import prefect_api
    from flows.experiment import experiment as run
    from storage.snapshot import parse_store

    for store in stores:
        parse_store(store)  # a URL with credentials is refused before Prefect keeps it
    files = {}
    for text in weights or ():
        key, equals, path = text.partition("=")
        if not (key and equals and path):
            raise TrainingError(f"--weights {text}: expected NAME=FILE, as imagenet=resnet18x0.25.pth")
        files[key] = path
    changes = overlaid({}, sets)
    with prefect_api():
        lines = run(name, stores, str(out), seed, protocol, files, changes)
    print((out / "table.md").read_text())
    raise typer.Exit(1 if any(line.incomplete for line in lines) else 0)


@app.command()
def experiments() -> None:
    """The experiments that come with the project."""
    from training.experiments import experiments as known

    for name, found in known().items():
        print(f"{name:22} {found.title}: protocol {found.protocol}, {len(found.rows)} rows; {found.source}")
