"""`pseudodepth live` and `film`: a camera's stream judged as it comes, and a simulated one to try it on."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from flows.live.source import Shot
    from flows.live.watch import Sight, WatchConfig

app = typer.Typer()


class LiveFusion(StrEnum):
    """How the scores of consecutive frames become one decision."""

    mean = "mean"
    k_of_n = "k-of-n"


@app.command()
def live(
    model: Annotated[Path, typer.Option("--model", "-m", help="folder that `pseudodepth export` wrote")],
    source: Annotated[
        str | None,
        typer.Argument(metavar="SOURCE", help="webcam (0, 1, ... or its name), video file, folder, stream URL"),
    ] = None,
    show: Annotated[bool, typer.Option("--show/--no-show", help="a window with the overlay")] = True,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="film of what was seen, .mp4, .mkv, ...")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a frame on stdout")] = False,
    every_frame: Annotated[
        bool, typer.Option("--every-frame", help="of a file or folder: drop none, as fast as it goes")
    ] = False,
    every: Annotated[int, typer.Option(min=1, max=60, help="detect in every so many frames, follow between")] = 5,
    fusion: Annotated[LiveFusion, typer.Option(help="how frames become one decision")] = LiveFusion.mean,
    n: Annotated[int, typer.Option("--n", min=1, help="scored frames that count")] = 15,
    k: Annotated[int, typer.Option("--k", min=1, help="of them that must be live (k-of-n)")] = 10,
    max_turn: Annotated[float, typer.Option(min=0.01, help="beyond, it asks to look at the camera; 0.25: 20°")] = 0.25,
    threshold: Annotated[str, typer.Option(help="of those the model carries: eer, bpcer10/5/1, apcer10/5/1")] = "eer",
    int8: Annotated[bool, typer.Option("--int8", help="use the quantised network")] = False,
    min_face: Annotated[float | None, typer.Option(min=0, help="px; default: the model's")] = None,
    min_sharpness: Annotated[float | None, typer.Option(min=0, help="0 takes blurred faces too")] = None,
    detector_weights: Annotated[Path | None, typer.Option(help="weights file of the detector")] = None,
    web: Annotated[bool, typer.Option("--web", help="not SOURCE: a page that uses the browser's camera")] = False,
    host: Annotated[str, typer.Option(help="of --web; anything but loopback lets others in")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="of --web")] = 8765,
) -> None:
    """Live or spoof, frame by frame as the camera sends them; end with q, Escape, Ctrl-C or the source's own end."""
    from flows.live.run import run
    from flows.live.watch import Watch
    from flows.predictor import Predictor

    if web == (source is not None):
        raise typer.BadParameter("give either a SOURCE (webcam number, file, folder, URL) or --web")
    config = watch_config(every=every, max_turn=max_turn, how=fusion.value, n=n, k=k)
    predictor = Predictor(
        model,
        precision="int8" if int8 else "fp32",
        threshold=threshold,
        detector_weights=detector_weights,
        min_face=min_face,
        min_sharpness=min_sharpness,
    )
    watch = Watch(predictor, config)
    if source is None:
        from flows.live.web import is_loopback, serve

        print(f"http://{f'[{host}]' if ':' in host else host}:{port}/  (Ctrl-C ends it)", flush=True)
        if not is_loopback(host):
            print(
                f"{host} is not loopback: whoever reaches it can use it; put TLS and a login before it", file=sys.stderr
            )
        serve(lambda: Watch(predictor, config), host, port)
        return
    tell = _print_json if as_json else _StateChanges()
    tally = run(source, watch, every_frame=every_frame, show=show, out=out, tell=tell)
    print(tally.line(), file=sys.stderr)


@app.command()
def film(
    out: Annotated[Path, typer.Option("--out", "-o", help="video to write: .mp4, .mkv, .mov, .avi or .mjpeg")],
    photo: Annotated[Path | None, typer.Option(help="a portrait; default: a packaged one")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="of each act")] = 4.0,
    rate: Annotated[int, typer.Option(min=1, max=120, help="frames a second")] = 30,
    seed: Annotated[int, typer.Option(min=0, help="everything random follows from it")] = 0,
) -> None:
    """Simulate what a webcam sees: a person, a print of them, a screen that replays them, nobody between."""
    from collections import Counter

    from simulation.film import simulate_film
    from tasks.errors import BuildError, MediumError

    try:
        acts = Counter(simulate_film(out, seconds=seconds, rate=rate, seed=seed, photo=photo))
    except MediumError as error:
        raise BuildError(f"{error}; give another portrait") from error
    print(f"{out}: {acts.total()} frames: {', '.join(f'{count} {act}' for act, count in acts.items())}; simulated")


def watch_config(*, every: int, max_turn: float, how: str, n: int, k: int) -> "WatchConfig":
    """The settings of a watch from the command's options."""
    from flows.live.watch import WatchConfig

    fusion: dict[str, Any] = {"how": how, "n": n, "k": k, "least": min(5, n)}
    return WatchConfig.model_validate({"every": every, "max_turn": max_turn, "fusion": fusion})


def _print_json(shot: "Shot", sight: "Sight", latency: float, dropped: int) -> None:
    line = {"frame": shot.number, "seconds": round(shot.seconds, 4), **sight.to_json()}
    print(json.dumps({**line, "latency_ms": round(latency, 1), "dropped": dropped}, allow_nan=False), flush=True)


class _StateChanges:
    """Prints the state where it changes."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, shot: "Shot", sight: "Sight", latency: float, dropped: int) -> None:
        if sight.state != self._last:
            score = "" if sight.score is None else f", score {sight.score:.4f}"
            print(f"{shot.seconds:8.2f} s  {sight.state}{score}", flush=True)
            self._last = sight.state
