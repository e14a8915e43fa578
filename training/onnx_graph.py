"""A scored network as an ONNX graph: image -> score, any batch size, nothing of this machine in it."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray

from liveness.card import METADATA_KEY, Card
from liveness.graph import IMAGE, MAP, SCORE, network_input
from training.errors import TrainingError
from training.methods import Exported, Network

OPSET = 20


class ScoredGraph(Exported):
    """The graph that is shipped, on the CPU, for pictures of `size` px, or clips of `frames` of them."""

    def __init__(self, network: Network, size: int, frames: int = 1) -> None:
        super().__init__(network)
        self.cpu()
        self.size, self.frames = size, frames

    @torch.no_grad()
    def score_crops(self, crops: NDArray[np.uint8]) -> NDArray[np.float64]:
        """(B, S, S, 3) or (B, T, S, S, 3) uint8 RGB -> (B,) float64: what `liveness.graph.Graph.score` gives too."""
        return self(torch.from_numpy(network_input(crops, self.size))).numpy()


class _Shipped(torch.nn.Module):
    """image -> score, and the method's map where it has one."""

    def __init__(self, graph: ScoredGraph) -> None:
        super().__init__()
        self.network = graph.network  # `graph` is a name that torch's exporter takes for itself

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        output = self.network(image)
        score, seen = self.network.score(output.double()), self.network.as_map(output)
        return (score,) if seen is None else (score, seen)


def import_onnx() -> ModuleType:
    """The package onnx; raises TrainingError naming the extra if it or the exporter is absent."""
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise TrainingError(f"{error.name} is not installed: pip install 'pseudodepth[export]'") from error
    return onnx


def write_onnx(graph: ScoredGraph, path: Path, card: Card) -> str:
    """Write `graph` with the card's preprocessing in its metadata; returns the file's sha256."""
    onnx = import_onnx()
    example = torch.zeros(2, graph.frames, 3, graph.size, graph.size)
    example = example if graph.frames > 1 else example[:, 0]
    shipped = _Shipped(graph).eval()
    with torch.no_grad():
        outputs = [SCORE, MAP][: len(shipped(example))]
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it tells that torchvision, which nothing uses, is absent
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch about torch
        program = torch.onnx.export(
            shipped,
            (example,),
            dynamo=True,
            input_names=[IMAGE],
            output_names=outputs,
            dynamic_shapes={"image": {0: torch.export.Dim("n")}},
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None  # without dynamo it would be
    model = program.model_proto
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]  # stack traces with the paths of this machine
    model.doc_string = model.graph.doc_string = ""
    return save_onnx(onnx, model, path, card)


def save_onnx(onnx: ModuleType, model, path: Path, card: Card) -> str:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """Check and write a model with the card's preprocessing in its metadata; returns the file's sha256."""
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(card.preprocessing(), sort_keys=True)})
    onnx.checker.check_model(model)
    data = model.SerializeToString(deterministic=True)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()
