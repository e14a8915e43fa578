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
    table = Table("method", "parameters", "GMACs", "input", "trained with", "ms, one thread", "published in", box=None)
    table.columns[0].no_wrap = True  # it is what one types
    for one in costs:
        spent = "" if one.milliseconds is None else f"{one.milliseconds:.3g}"
        shape = " × ".join(map(str, one.input))
        table.add_row(one.name, f"{one.parameters:,}", f"{one.macs / 1e9:.3g}", shape, one.target, spent, one.reference)
    console.print(table)
