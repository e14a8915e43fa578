"""Where a run computes: device, precision and processes, by Lightning Fabric."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from training.config import LoopConfig, TrainConfig
from training.errors import TrainingError

_PRECISION: dict[str, Any] = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def pick_device(name: str) -> torch.device:
    """ "auto" is the GPU when torch sees one; raises TrainingError for a GPU that is asked for and absent."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device 'cuda' was asked for, but torch sees no GPU here; use device 'cpu' or 'auto'")
    return torch.device(name)


def make_fabric(config: TrainConfig) -> Fabric:
    """Fabric for the device, precision and number of processes of a run; raises TrainingError for what is not there."""
    device, loop = pick_device(config.device), config.loop
    if device.type == "cuda" and loop.devices > torch.cuda.device_count():
        raise TrainingError(
            f"loop.devices is {loop.devices}, but torch sees {torch.cuda.device_count()} GPUs; ask for no more"
        )
    if loop.precision == "16" and device.type == "cpu":
        raise TrainingError("loop.precision '16' needs a GPU; on a CPU use '32', or 'bf16' where the CPU has it")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    return Fabric(
        accelerator=device.type,
        devices=loop.devices,
        strategy="ddp_spawn" if loop.devices > 1 else "auto",
        precision=_PRECISION[loop.precision],
    )


def average_gradients(fabric: Fabric, parameters: Iterable[nn.Parameter]) -> None:
    """Make every process's gradients the mean over all processes.

    One message an update instead of DistributedDataParallel's wrappers: a GAN's critic is passed through without
    being trained, encoders are frozen for some epochs, and wrapped modules must not do either.
    """
    if fabric.world_size == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    _average(fabric, gradients)


def average_buffers(fabric: Fabric, nets: nn.Module) -> None:
    """Make the running statistics of norms the mean over all processes, so that all of them hold one model."""
    if fabric.world_size > 1:
        _average(fabric, [b for b in nets.buffers() if b.is_floating_point()])


def _average(fabric: Fabric, tensors: list[Tensor]) -> None:
    if not tensors:
        return
    flat = torch.cat([t.reshape(-1) for t in tensors])
    mean = fabric.all_reduce(flat, reduce_op="mean")
    assert isinstance(mean, Tensor)
    for tensor, part in zip(tensors, mean.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.reshape(tensor.shape))


def learning_rate_factor(config: LoopConfig, update: int, updates_an_epoch: int, epochs: int) -> float:
    """What every learning rate is multiplied with at an update (0, 1, ...); from the position alone, so resumable."""
    if update < config.warmup_updates:
        return (update + 1) / config.warmup_updates
    if config.schedule == "cosine":
        total = epochs * updates_an_epoch - config.warmup_updates
        done = (update - config.warmup_updates) / max(1, total)
        return float(0.5 * (1 + torch.cos(torch.tensor(done * torch.pi, dtype=torch.float64))))
    if config.schedule == "step":
        return float(config.gamma ** sum(update >= m * updates_an_epoch for m in config.milestones))
    return 1.0
