"""`pseudodepth scan` and `pseudodepth protocols`: what is there, before anything is built or trained."""

import json
from typing import Annotated

import typer

from tasks.errors import BuildError

app = typer.Typer()
JsonOption = Annotated[bool, typer.Option("--json", help="JSON instead of tables")]


@app.command()
def scan(
    sources: Annotated[
        list[str], typer.Argument(metavar="NAME[:DATASET]=ROOT...", help="datasets, as celeba-spoof=/data/CelebA")
    ],
    as_json: JsonOption = False,
    expect_official: Annotated[
        bool, typer.Option("--expect-official", help="exit code 1 unless the counts are the published ones")
    ] = False,
    tolerance: Annotated[
        float, typer.Option(min=0, max=1, help="by which share of a published figure a count may miss it")
    ] = 0.02,
) -> None:
    """What a build would find: counts by split, kind and subject, what is left out and why, which layout it is."""
    from flows.run import console, split_source
    from flows.scan_sources import show, survey
    from tasks.sources import SOURCES
    from tasks.sources import scan as scan_source

    surveys = []
    for text in sources:
        name, dataset, root = split_source(text)
        found = scan_source(name, root, dataset)
        surveys.append(survey(SOURCES[name], found))
        if not as_json:
            show(surveys[-1], console)
        if expect_official and not surveys[-1].differences:
            raise BuildError(f"{name}: no sizes of it are published; leave --expect-official out")
    if as_json:
        print(json.dumps([found.to_json() for found in surveys], indent=1))
    wrong = [line for found in surveys for line in found.contradictions(tolerance)]
    if expect_official and wrong:
        for line in wrong:
            typer.echo(line, err=True)
        raise typer.Exit(1)


@app.command()
def protocols(
    store: Annotated[
        str | None, typer.Argument(metavar="[STORE]", help="folder of a store; without it: the names and sources alone")
    ] = None,
    protocol: Annotated[
        list[str] | None, typer.Option(help="only this one, or a YAML file of your own; repeat for several")
    ] = None,
    as_json: JsonOption = False,
    seed: Annotated[int, typer.Option(help="of the subjects that are carved off where there is no dev split")] = 0,
) -> None:
    """Published protocols, with how many samples of each the store holds, or what it lacks."""
    from flows.protocol_survey import show_protocols, survey_protocols
    from flows.run import console
    from training.protocols import find_protocol
    from training.protocols import protocols as published

    chosen = [find_protocol(name) for name in protocol] if protocol else list(published().values())
    if store is None:
        for one in chosen:
            print(f"{one.name}: {one.title}. {one.source}")
        return
    entries = survey_protocols(store, chosen, seed)
    if as_json:
        print(json.dumps(entries, indent=1))
    else:
        show_protocols(entries, console)
