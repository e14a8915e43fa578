"""PRNet, ready to use: crops in, position maps or vertices out."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prnet.fold import Folded
from prnet.network import Resfcn256
from prnet.transfer import to_device
from prnet.uv import UVLayout
from prnet.weights_file import read_weights

# activations of more crops than this do not stay in a core's cache: 54 ms a crop at 2, 68 ms at 8 (one thread)
CPU_BATCH = 2
Engine = Literal["torch", "openvino"]


class PRNet:
    """The network with its UV layout, on one device.

    `layout`, `triangles` (T,3) int32, `size` (crop side in px), `device`, `dtype`, `about` (where the weights are from:
    width, source, licence), `weights_sha256` (of the file; "" if the network was not read from one).
    """

    def __init__(
        self,
        network: Resfcn256,
        layout: UVLayout,
        *,
        device: str | torch.device = "auto",
        dtype: torch.dtype | None = None,
        engine: Engine = "torch",
        about: dict[str, object] | None = None,
        weights_sha256: str = "",
    ) -> None:
        if device == "auto":
            device = "cuda" if engine == "torch" and torch.cuda.is_available() else "cpu"
        self.device = torch.device(device)
        if dtype is None:
            dtype = torch.bfloat16 if self.device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
        self.dtype = dtype
        self.layout, self.size, self.reach = layout, network.size, network.reach
        self.about = about or {}
        self.weights_sha256 = weights_sha256
        if engine == "openvino":
            from prnet.openvino_engine import OpenVINOBody

            if self.device.type != "cpu":
                raise ValueError(f"engine openvino runs on the CPU, not on {self.device}")
            self.network = Folded(network).eval()
            self.network.body = OpenVINOBody(self.network.body, self.size, CPU_BATCH, dtype)
        else:
            self.network = Folded(network, dtype).to(self.device).eval()
        self._vertex_index = torch.from_numpy(layout.vertex_index).to(self.device)

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: str | torch.device = "auto",
        dtype: torch.dtype | None = None,
        engine: Engine = "torch",
    ) -> PRNet:
        """Load `prnet.safetensors`, as `import_checkpoint` writes it.

        `device`: "auto" is CUDA if there is one, else the CPU. `dtype`: of all but the last three layers; None is
        bfloat16 on CUDA and float32 elsewhere. `engine`: "openvino" runs on the CPU and needs that extra. Raises
        WeightsError if the file is missing, damaged or another one, or the engine is not installed.
        """
        weights = read_weights(path)
        return cls(
            weights.network,
            weights.layout,
            device=device,
            dtype=dtype,
            engine=engine,
            about=weights.about,
            weights_sha256=weights.sha256,
        )

    @property
    def triangles(self) -> NDArray[np.int32]:
        """Triangles (T,3) that index the vertices."""
        return self.layout.triangles

    @overload
    def positions(self, crops: NDArray[np.generic]) -> NDArray[np.float32]: ...
    @overload
    def positions(self, crops: Tensor) -> Tensor: ...
    def positions(self, crops: NDArray[np.generic] | Tensor) -> NDArray[np.float32] | Tensor:
        """Position maps (B,S,S,3) float32, x, y, z in crop pixels (larger z is nearer), of crops (B,S,S,3) RGB.

        Crops are uint8, or floating in [0,1]. Arrays give arrays, tensors give tensors on this model's device. Raises
        ValueError for other shapes, types or ranges.
        """
        maps = self._maps(crops).permute(0, 2, 3, 1).contiguous()
        return maps if isinstance(crops, Tensor) else maps.cpu().numpy()

    @overload
    def vertices(self, crops: NDArray[np.generic]) -> NDArray[np.float32]: ...
    @overload
    def vertices(self, crops: Tensor) -> Tensor: ...
    def vertices(self, crops: NDArray[np.generic] | Tensor) -> NDArray[np.float32] | Tensor:
        """Vertices (B,V,3) float32 in crop pixels of crops (B,S,S,3); as `positions`, read at the layout's pixels."""
        flat = self._maps(crops).flatten(2)[..., self._vertex_index].transpose(1, 2).contiguous()
        return flat if isinstance(crops, Tensor) else flat.cpu().numpy()

    def _maps(self, crops: NDArray[np.generic] | Tensor) -> Tensor:
        """(B,3,S,S) float32 in crop pixels."""
        batch = crops if isinstance(crops, Tensor) else torch.from_numpy(np.ascontiguousarray(crops))
        if batch.ndim != 4 or batch.shape[1:] != (self.size, self.size, 3):
            raise ValueError(f"crops: expected shape (B, {self.size}, {self.size}, 3), got {tuple(batch.shape)}")
        if not len(batch):
            return torch.empty(0, 3, self.size, self.size, device=self.device)
        with torch.no_grad():
            if batch.dtype != torch.uint8 and not batch.is_floating_point():
                raise ValueError(f"crops: expected uint8 or floating RGB, got {batch.dtype}")
            if batch.is_floating_point():
                low, high = batch.aminmax()
                if not (low >= 0 and high <= 1.001):
                    raise ValueError(f"crops: floating crops must be in [0, 1], got {low:.3g}..{high:.3g}")
            if self.device.type == "cpu":
                parts = iter(batch.cpu().split(CPU_BATCH))
            elif batch.is_cuda:
                parts = iter([batch.to(self.device)])
            else:
                parts = to_device(batch, self.device)
            return torch.cat([self._run(part) for part in parts]).mul_(self.reach)

    def _run(self, crops: Tensor) -> Tensor:
        """(B,S,S,3) on this model's device -> (B,3,S,S) float32 in (0, 1)."""
        pixels = crops.float().div_(255) if crops.dtype == torch.uint8 else crops.float()
        # float32 means float32 here: TF32 would round to 10 bits
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=self.dtype != torch.float32, benchmark=True):
            return self.network(pixels.permute(0, 3, 1, 2))
