"""The training loop: faces in, weights out; can be stopped at any step and goes on as if it had not been."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from prnet.errors import WeightsError
from prnet.network import ConvNorm, Resfcn256
from prnet.train.augment import AugmentConfig, crop_batch
from prnet.train.faces import Face
from prnet.train.loss import position_loss, weights_of
from prnet.train.uv_grid import MeshUV, UVGrid

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

STATE, HISTORY = "state.pt", "history.json"
Progress = Callable[[int, int, dict[str, float]], None]
# faces from number n on, without end; the same faces each time it is asked
Source = Callable[[int], Iterator[Face]]


class TrainConfig(BaseModel):
    """What is trained, for how long, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: float = Field(default=0.5, gt=0, multiple_of=1 / 16, description="of the network; 1 is the published one")
    size: int = Field(default=256, ge=32, multiple_of=32, description="side of a crop")
    steps: int = Field(default=60_000, ge=1)
    batch: int = Field(default=16, ge=2)
    learning_rate: float = Field(default=1e-4, gt=0, description="of Adam")
    warmup: int = Field(default=0, ge=0, description="steps over which the learning rate rises from 0")
    halve_every: int = Field(default=10_000, ge=1, description="steps after which the learning rate is halved")
    ema: float = Field(default=0.999, ge=0, lt=1, description="decay of the averaged weights, which are kept")
    # a network that has only seen its batches' own statistics is another one with the moving ones: four heads learned
    # by heart had an NME of 15 % without a settled end (3.5 % of the crop in training), and of 8 % with one
    settle: float = Field(
        default=0.5, gt=0, le=1, description="after this share of the steps, batch norms use their moving statistics"
    )
    # the original's 0.001 needs ten thousand steps to forget the start
    norm_momentum: float = Field(default=0.01, gt=0, le=1, description="of the batch norms' moving statistics")
    teacher_depth: float = Field(
        default=0.25, ge=0, le=1, description="weight of the error in z where the mesh is a teacher's"
    )
    augment: AugmentConfig = AugmentConfig()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    # on a CPU with bfloat16 instructions (AVX512-BF16, AMX) a step of width 3/8 at 128 takes 0.7 of the time, batch 32
    amp: bool | None = Field(default=None, description="bfloat16; None: on CUDA, not on the CPU")
    threads: int | None = Field(default=None, ge=1, description="CPU threads; None: torch's own choice")
    save_every: int = Field(default=500, ge=1, description="steps between two saved states")
    tensorboard: bool = Field(default=False, description="write curves for TensorBoard (extra `tensorboard`)")
    seed: int = 0


class Trainer:
    """Network, its running average, optimiser and step count. `sources`: each with its number of faces a batch."""

    def __init__(self, mesh: MeshUV, sources: Sequence[tuple[Source, int]], config: TrainConfig) -> None:
        if sum(count for _, count in sources) != config.batch:
            raise WeightsError(f"the sources' {[c for _, c in sources]} faces do not make a batch of {config.batch}")
        self.config, self.sources, self.mirror = config, sources, mesh.mirror()
        if config.threads:
            torch.set_num_threads(config.threads)
        wanted = config.device
        if wanted == "cuda" and not torch.cuda.is_available():
            raise WeightsError("device 'cuda' was asked for, but torch sees no GPU here; use 'cpu' or 'auto'")
        self.device = torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")
        torch.manual_seed(config.seed)
        self.network = new_network(config).to(self.device)
        self.average = Resfcn256(config.width, config.size).to(self.device).eval()
        self.average.load_state_dict(self.network.state_dict())
        self.optimiser = torch.optim.Adam(self.network.parameters(), config.learning_rate)
        self.grid = UVGrid.of_mesh(mesh, config.size)
        self.weights = torch.from_numpy(weights_of(self.grid.layout)).to(self.device)
        self.index = torch.from_numpy(self.grid.layout.vertex_index).to(self.device)
        self.step = 0
        self.history: list[dict[str, float]] = []

    def rate(self, step: int) -> float:
        """The learning rate of step 0, 1, ..."""
        config = self.config
        rise = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
        return config.learning_rate * rise * 0.5 ** (step // config.halve_every)

    def batches(self, start: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Crops (B,3,S,S), meshes (B,V,3) and depth trust (B,) from step `start` on; the next one is made meanwhile."""
        streams = [(source(start * count), count) for source, count in self.sources]

        def make(step: int) -> tuple[Tensor, Tensor, Tensor]:
            faces = [next(stream) for stream, count in streams for _ in range(count)]
            rngs = [np.random.default_rng([self.config.seed, 5, step, i]) for i in range(len(faces))]
            crops, meshes = crop_batch(faces, self.config.size, self.mirror, rngs, self.config.augment)
            trust = [1.0 if face.source == "rendered" else self.config.teacher_depth for face in faces]
            return crops, meshes, torch.tensor(trust)

        with ThreadPoolExecutor(1) as ahead:
            coming = ahead.submit(make, start)
            for step in range(start + 1, self.config.steps + 1):
                batch = coming.result()
                if step < self.config.steps:
                    coming = ahead.submit(make, step)
                yield batch

    def update(self, crops: Tensor, meshes: Tensor, trust: Tensor) -> Tensor:
        """One step of Adam; the loss, a scalar, in parts of the crop's reach."""
        config = self.config
        settled = self.step >= config.settle * config.steps
        self.network.train()
        for module in self.network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train(not settled)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(self.step)
        crops, meshes = crops.to(self.device, non_blocking=True), meshes.to(self.device, non_blocking=True)
        target = (self.grid.points(meshes) / self.network.reach).clamp(0, 1)
        half = self.device.type == "cuda" if config.amp is None else config.amp
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            maps = self.network(crops)
        predicted = maps.float().flatten(2)[..., self.index].transpose(1, 2)
        loss = position_loss(predicted, target, self.weights, trust.to(self.device))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.step += 1
        # a long memory of the random start would only hold the average back
        decay = min(config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for kept, now in zip(self.average.tensors().values(), self.network.tensors().values(), strict=True):
                kept.lerp_(now, 1 - decay)
        return loss.detach()

    def save(self, folder: Path) -> None:
        """Write `state.pt` and `history.json`, each whole or not at all."""
        state = {
            "config": self.signature(),
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "history": self.history,
        }
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, suffix=".partial")
        os.close(handle)
        try:
            torch.save(state, temporary)
            os.replace(temporary, folder / STATE)
        finally:
            Path(temporary).unlink(missing_ok=True)
        (folder / HISTORY).write_text(json.dumps(self.history, indent=1))

    def resume(self, folder: Path) -> bool:
        """Go on from `state.pt` if there is one. WeightsError if it is unreadable or of another configuration."""
        path = folder / STATE
        if not path.is_file():
            return False
        try:
            state = cast(dict[str, Any], torch.load(path, map_location=self.device, weights_only=True))
            if state["config"] != self.signature():
                raise WeightsError(f"{path}: from a training with other settings; give another folder, or delete it")
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step, self.history = int(state["step"]), list(state["history"])
        except WeightsError:
            raise
        except Exception as error:  # whatever pickle and torch make of a damaged file
            raise WeightsError(f"{path}: not a training state that can be read ({error}); delete it") from error
        return True

    def signature(self) -> str:
        """Digest of what decides the result; where and with how many threads it runs does not."""
        options = self.config.model_dump(exclude={"device", "threads", "save_every", "tensorboard"})
        return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()


def new_network(config: TrainConfig) -> Resfcn256:
    """A fresh network that starts where a short training gets going.

    A position map is smooth, and its mean is known. So the decoder starts as smooth enlargements of what lies below
    (plus 0.3 of the usual random kernels), its two narrow layers, which carry coordinates through a ReLU, start open,
    and the output starts in the middle of the crop. The loss falls to what the best constant gives in about 100 steps
    instead of 450 (measured, width 3/16 against 3/8).
    """
    network = Resfcn256(config.width, config.size)
    layers = [cast(ConvNorm, layer) for layer in network.decoder]
    with torch.no_grad():
        for layer in layers[1:-3]:
            weight = layer.conv.weight  # (in, out, 4, 4)
            taps = torch.tensor([1.0, 3.0, 3.0, 1.0] if layer.conv.stride == 2 else [0.0, 1.0, 0.0, 0.0])
            kernel = torch.outer(taps, taps)
            kernel = kernel / (kernel.norm() * math.sqrt(weight.shape[0] / weight.shape[1]))
            weight.mul_(0.3)
            for channel in range(weight.shape[0]):
                weight[channel, channel % weight.shape[1]] += kernel
        for layer in layers[-3:-1]:
            layer.norm.bias.fill_(2.0)
        layers[-1].norm.weight.fill_(0.5)
        # a face in the middle: x and y 0.5, z 0.2 of the crop, in parts of the reach and before the sigmoid
        layers[-1].norm.bias.copy_(torch.tensor([-0.18, -0.18, -1.5]))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = config.norm_momentum
    return network


def fit(
    mesh: MeshUV,
    sources: Sequence[tuple[Source, int]],
    folder: Path,
    config: TrainConfig,
    *,
    progress: Progress | None = None,
    stop_after: int | None = None,
) -> Trainer:
    """Train until `config.steps` (or, for now, `stop_after` steps), resuming what `folder` holds.

    Writes `state.pt` and `history.json` (mean loss in % of the crop's reach and rate per 50 steps) there. Raises
    WeightsError if the loss is no longer a number, or if the state there does not fit.
    """
    trainer = Trainer(mesh, sources, config)
    trainer.resume(folder)
    last = min(config.steps, stop_after or config.steps)
    board = _tensorboard(folder) if config.tensorboard else None
    sums: list[float] = []
    began = time.perf_counter()
    batches = trainer.batches(trainer.step) if trainer.step < last else iter(())
    for batch in batches:
        loss = float(trainer.update(*batch)) * 100
        if not np.isfinite(loss):
            raise WeightsError(
                f"{folder}: the loss became {loss} in step {trainer.step}; the last saved state stands. Lower the "
                "learning rate, or look for meshes that are not finite"
            )
        sums.append(loss)
        if progress:
            progress(trainer.step, config.steps, {"loss %": loss})
        if trainer.step % 50 == 0 or trainer.step == last:
            seconds = time.perf_counter() - began
            record = {"step": trainer.step, "loss": float(np.mean(sums)), "rate": trainer.rate(trainer.step - 1)}
            trainer.history.append(record)
            if board:
                board.add_scalar("loss (% of the crop)", record["loss"], trainer.step)
                board.add_scalar("learning rate", record["rate"], trainer.step)
                board.add_scalar("faces a second", len(sums) * config.batch / max(seconds, 1e-9), trainer.step)
            sums, began = [], time.perf_counter()
        if trainer.step % config.save_every == 0 or trainer.step == last:
            trainer.save(folder)
        if trainer.step >= last:
            break
    if board:
        board.close()
    return trainer


def _tensorboard(folder: Path) -> SummaryWriter:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise WeightsError(
            "tensorboard: not installed; `pip install 'pseudodepth[tensorboard]'`, or leave the option out"
        ) from error
    return SummaryWriter(str(folder / "tensorboard"))  # type: ignore[no-untyped-call]  # torch gives it no types
