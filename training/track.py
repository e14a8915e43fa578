"""Curves and sample grids of a run: TensorBoard files by default, MLflow or Weights & Biases by extra."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.config import Tracker
from training.errors import TrainingError
from training.feed import Feed
from training.methods import Network
from training.splits import Rows

SHOWN = 8  # dev samples of a grid, half of them live
SIDE = 112  # px of a picture in it


class Sink(Protocol):
    """One place that curves and pictures go to."""

    def scalars(self, update: int, values: Mapping[str, float]) -> None:
        """One point of each curve."""

    def picture(self, update: int, name: str, pixels: NDArray[np.uint8]) -> None:
        """(H, W, 3) uint8 RGB."""

    def close(self) -> None:
        """Write what is left."""


class TensorBoard:
    """Event files in `out`/tensorboard, written by tensorboardX: `tensorboard --logdir` shows them."""

    def __init__(self, out: Path, name: str, about: Mapping[str, Any], first: int) -> None:
        from tensorboardX import SummaryWriter

        # what a killed run noted beyond its last checkpoint is replaced
        self.writer = SummaryWriter(str(out / "tensorboard"), purge_step=first or None)

    def scalars(self, update: int, values: Mapping[str, float]) -> None:
        """One point of each curve."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, update)

    def picture(self, update: int, name: str, pixels: NDArray[np.uint8]) -> None:
        """(H, W, 3) uint8 RGB."""
        self.writer.add_image(name, pixels, update, dataformats="HWC")

    def close(self) -> None:
        """Flush and end the file."""
        self.writer.close()


class MLflow:
    """A run of the MLflow server or folder that MLFLOW_TRACKING_URI names."""

    def __init__(self, out: Path, name: str, about: Mapping[str, Any], first: int) -> None:
        self.mlflow = _package("mlflow")
        self.mlflow.start_run(run_name=f"{name} {out}")
        self.mlflow.log_params({key: str(value)[:500] for key, value in _flat(about)})

    def scalars(self, update: int, values: Mapping[str, float]) -> None:
        """One point of each curve."""
        self.mlflow.log_metrics(dict(values), step=update)

    def picture(self, update: int, name: str, pixels: NDArray[np.uint8]) -> None:
        """(H, W, 3) uint8 RGB."""
        self.mlflow.log_image(pixels, f"{name}/{update:08d}.png")

    def close(self) -> None:
        """End the run."""
        self.mlflow.end_run()


class WeightsAndBiases:
    """A run of Weights & Biases; WANDB_MODE=offline keeps it in `out`/wandb."""

    def __init__(self, out: Path, name: str, about: Mapping[str, Any], first: int) -> None:
        self.wandb = _package("wandb")
        self.run = self.wandb.init(project="pseudodepth", name=f"{name} {out.name}", dir=str(out), config=dict(about))

    def scalars(self, update: int, values: Mapping[str, float]) -> None:
        """One point of each curve."""
        self.run.log(dict(values), step=update)

    def picture(self, update: int, name: str, pixels: NDArray[np.uint8]) -> None:
        """(H, W, 3) uint8 RGB."""
        self.run.log({name: self.wandb.Image(pixels)}, step=update)

    def close(self) -> None:
        """End the run."""
        self.run.finish()


_SINKS: dict[Tracker, Callable[[Path, str, Mapping[str, Any], int], Sink]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WeightsAndBiases,
}


class Watch:
    """Every sink at once, and the fixed dev samples that sample grids show."""

    def __init__(self, sinks: Sequence[Sink], feed: Feed, dev: Rows) -> None:
        label = feed.data.table.column("label").to_numpy()[dev]
        chosen = [dev[label == value][: SHOWN // 2] for value in (0, 1)]
        self.sinks, self.feed, self.rows = sinks, feed, np.concatenate(chosen)

    def scalars(self, update: int, values: Mapping[str, float]) -> None:
        """One point of each curve."""
        for sink in self.sinks:
            sink.scalars(update, values)

    @torch.no_grad()
    def network(self, update: int, name: str, network: Network) -> None:
        """A grid of what the network makes of the same dev samples every time, if it makes pictures."""
        if not self.sinks:
            return
        network.eval()
        parts = [(batch, network(batch.image)) for batch in self.feed.plain(self.rows)]
        if parts[0][1].dim() < 4:
            return
        shown = [(b.image, o) if b.depth is None else (b.image, b.depth, o) for b, o in parts]
        # of a clip its first frame, and what is drawn of it
        pixels = grid([torch.cat([x if x.dim() == 4 else x[:, 0] for x in row]) for row in zip(*shown, strict=True)])
        for sink in self.sinks:
            sink.picture(update, f"{name}/samples", pixels)


def grid(rows: Sequence[Tensor]) -> NDArray[np.uint8]:
    """Rows of pictures (n, 1 or 3, H, W) float in [0, 1] as one picture (rows * SIDE, n * SIDE, 3) uint8 RGB."""
    lines = []
    for row in rows:
        colour = row.float().cpu().expand(-1, 3, -1, -1)
        small = functional.interpolate(colour, (SIDE, SIDE), mode="bilinear", antialias=True)
        lines.append(torch.cat(list(small), dim=2))  # side by side
    pixels = torch.cat(lines, dim=1).clamp(0, 1).mul(255).round().to(torch.uint8)
    return pixels.permute(1, 2, 0).numpy()


@contextmanager
def watch(
    trackers: Sequence[Tracker], out: Path, name: str, about: Mapping[str, Any], feed: Feed, dev: Rows, first: int
) -> Iterator[Watch]:
    """Open the trackers for a run that begins at update `first`, and close them whatever happens."""
    with ExitStack() as stack:
        sinks = []
        for tracker in trackers:
            sinks.append(_SINKS[tracker](out, name, about, first))
            stack.callback(sinks[-1].close)
        yield Watch(sinks, feed, dev)


def _package(name: str) -> Any:  # noqa: ANN401 - a module
    try:
        return import_module(name)
    except ImportError as error:
        raise TrainingError(
            f"loop.track has {name!r}, not to be imported ({error}): install 'pseudodepth[{name}]', or leave it out"
        ) from error


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
