"""What a method's network costs: weights, multiplications, and time on this processor."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from training.config import TrainConfig
from training.methods import Exported, get_method, parameters

ENOUGH = 1.0  # seconds after which a network is not run again


@dataclass(frozen=True)
class Cost:
    """One method as published: what is kept of its training, folded as it is shipped.

    input: shape of one sample. target: what it is trained with, in words. macs: multiply-accumulates of convolutions
    and matrix products for one sample. milliseconds: the fastest of several runs in torch on one thread, in CPU time:
    a busy machine does not count. None where it was not measured.
    """

    name: str
    reference: str
    parameters: int
    macs: int
    input: tuple[int, ...]
    target: str
    milliseconds: float | None


def cost(name: str, *, timed: bool = True) -> Cost:
    """The cost of a method with its default settings; raises TrainingError for a name that is unknown."""
    method = get_method(name)
    settings = method.settings()
    targets = method.targets(settings)
    network = method.network(**method.network_arguments(settings))
    weights = parameters(network)
    side = TrainConfig.model_validate(method.run).input_size
    frames = (targets.frames,) if targets.frames > 1 else ()
    shape = (*frames, 3, side, side)
    graph = Exported(network).eval()
    milliseconds = 1000 * _seconds(graph, torch.zeros(1, *shape)) if timed else None
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        graph.to("meta")(torch.zeros(1, *shape, device="meta"))  # shapes alone: nothing is computed
    target = "label" if targets.depth_size is None else f"depth {targets.depth_size}" + ", mask" * targets.mask
    macs = counter.get_total_flops() // 2
    return Cost(name, method.reference, weights, macs, shape, target, milliseconds)


@torch.no_grad()
def _seconds(graph: torch.nn.Module, sample: torch.Tensor) -> float:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        spent: list[float] = []
        while len(spent) < 2 or sum(spent) < ENOUGH:
            began = time.thread_time()
            graph(sample)
            spent.append(time.thread_time() - began)
        return min(spent)
    finally:
        torch.set_num_threads(threads)
