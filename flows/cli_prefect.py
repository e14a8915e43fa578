"""`pseudodepth run|serve|doctor`: deployments by name, Prefect on one machine, and what is missing here."""

import sys
from typing import Annotated

import typer

from flows.settings import settings

app = typer.Typer()


@app.command()
def run(
    name: Annotated[
        str, typer.Argument(metavar="DEPLOYMENT", help="build-depth, refresh-datasets, train-liveness, ...")
    ],
    parameter: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="NAME=VALUE", help="of the flow; the value is JSON or text"),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="wait until the run has ended")] = False,
) -> None:
    """Start a deployment by its name; where no Prefect API answers, run its flow in this process."""
    from flows.deployments import call_here, parse_parameters, start_deployment

    parameters = parse_parameters(parameter or [])
    started = start_deployment(name, parameters, wait=watch)
    if started is None:
        print(f"no Prefect API answers: {name} runs in this process", file=sys.stderr)
        print(call_here(name, parameters))
        return
    print(f"{started.deployment}: run {started.run}, {started.state}  {started.url}")
    if watch and started.state not in ("Completed", "Skipped"):
        raise typer.Exit(1)


@app.command()
def serve(
    host: Annotated[
        str, typer.Option(help="address to listen at; anything but loopback is open to others")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 4200,
) -> None:
    """Start a Prefect server with its UI, a worker and all deployments on this machine; Ctrl-C stops them."""
    from flows.serve import serve as serve_here

    serve_here(host, port, lambda line: print(line, flush=True))


@app.command()
def doctor(
    stores: Annotated[list[str] | None, typer.Argument(metavar="[STORE...]", help="stores to look at as well")] = None,
) -> None:
    """Check versions, weights, GPU, Dask, Prefect and stores, and say what to do; exit code 1 if something fails."""
    from flows.doctor import checks

    failed = False
    for check in checks(stores or [], settings()):
        print(f"{check.verdict:<6}{check.what:<22}{check.found}", flush=True)
        if check.remedy:
            print(f"{'':<28}→ {check.remedy}")
        failed |= check.verdict == "FAIL"
    raise typer.Exit(1 if failed else 0)
