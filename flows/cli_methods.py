"""`pseudodepth methods`: what can be trained, and what it costs."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def methods(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="only these")] = None,
    timed: Annotated[bool, typer.Option("--time/--no-time", help="run each network for a second")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table")] = False,
) -> None:
    """Methods that `pseudodepth train` knows, as published: weights, work, input, target, time on this processor."""
    from rich.table import Table

    from flows.run import console
    from training.cost import cost
    from training.methods import METHODS

    costs = [cost(name, timed=timed) for name in names or METHODS]
    if as_json:
        print(json.dumps([asdict(one) for one in costs], indent=1))
        return
    milliseconds = ("ms, one thread",) if timed else ()
    table = Table("method", "parameters", "GMACs", "input", "trained with", *milliseconds, "published in", box=None)
    for column in table.columns[:4]:  # a name that one types, and figures: on a narrow screen the words wrap instead
        column.no_wrap = True
    for one in costs:
        figures = [f"{one.parameters:,}", f"{one.macs / 1e9:.3g}", "×".join(map(str, one.input)), one.target]
        spent = [] if one.milliseconds is None else [f"{one.milliseconds:.3g}"]
        table.add_row(one.name, *figures, *spent, one.reference)
    console.print(table)
