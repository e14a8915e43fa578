"""The folded network on OpenVINO: faster than torch on one CPU core (benchmarks/prnet.py has the figures)."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from prnet.errors import WeightsError

if TYPE_CHECKING:
    from openvino import CompiledModel

PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16"}


class OpenVINOBody(nn.Module):
    """Takes the place of `Folded.body`: (B,3,size,size) float32 -> (B,C,H,W) float32, any B, one thread.

    `body` is float32, with fixed weights; `dtype` is what OpenVINO computes in; `batch` is what it works on at a time.
    Raises WeightsError if OpenVINO is not installed, ValueError for a `dtype` that it does not compute in.
    """

    def __init__(self, body: nn.Module, size: int, batch: int, dtype: torch.dtype) -> None:
        super().__init__()
        if dtype not in PRECISIONS:
            raise ValueError(f"engine openvino: expected dtype {' or '.join(map(str, PRECISIONS))}, got {dtype}")
        self.batch = batch
        self._compiled = _compile(body, torch.zeros(batch, 3, size, size), PRECISIONS[dtype])

    def forward(self, x: Tensor) -> Tensor:
        """Run the network's body."""
        missing = self.batch - len(x)  # its shape is fixed, which makes it faster: a short last batch is filled up
        full = torch.cat([x, x[-1:].expand(missing, -1, -1, -1)]) if missing else x
        (output,) = self._compiled(full.contiguous().numpy(), share_inputs=True).values()
        return torch.from_numpy(output)[: len(x)]


def _compile(body: nn.Module, example: Tensor, precision: str) -> CompiledModel:
    try:
        import openvino
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
    except ImportError as error:
        raise WeightsError(
            f"engine openvino: {error}; `pip install 'pseudodepth[openvino]'`, or leave the option out"
        ) from error
    # openvino.convert_model does the same and would report it to its makers
    frontend = FrontEndManager().load_by_framework("pytorch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit.trace, which OpenVINO reads modules by
        decoder = TorchScriptPythonDecoder(body, example_input=(example,))  # must outlive the conversion
    model = frontend.convert(frontend.load(decoder))
    model.reshape(list(example.shape))
    options = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": precision}
    return openvino.Core().compile_model(model, "CPU", options)
