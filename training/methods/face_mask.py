"""Which part of a depth map is the score: all of it, an ellipse where faces are, or the face as the store has it.

Papers score test faces, spoofs too, in the mask of an aligned mesh, which a product does not have.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from training.batch import Batch
from training.errors import TrainingError
from training.methods import Network

FaceMask = Literal["whole", "ellipse", "stored"]
MASKS = (
    "whose depth counts for the score: that of the whole map, of an ellipse, which needs nothing, or of the store's "
    "masks, which a store built with depth.spoof_mask has"
)
AXES = (0.36, 0.46)  # of the ellipse, shares of the crop's side


def ellipse(side: int, device: torch.device) -> Tensor:
    """(side, side) bool: where a face is expected in a crop."""
    at = (torch.arange(side, device=device) + 0.5) / side - 0.5
    return (at / AXES[0]).square()[None, :] + (at / AXES[1]).square()[:, None] <= 1


def face_mask(kind: FaceMask, output: Tensor, stored: Tensor | None) -> Tensor:
    """Where depth counts: bool, spreading to maps (..., S, S); `stored` are the masks of a batch.

    Raises TrainingError where stored masks are asked for and one has no face, or there are none.
    """
    if kind == "whole":
        return torch.ones(output.shape[-2:], dtype=torch.bool, device=output.device)
    if kind == "ellipse":
        return ellipse(output.shape[-1], output.device)
    if stored is None:
        raise TrainingError(
            "this model scores with the face masks of a store, which a picture does not bring; train it with "
            "--set settings.mask=ellipse (of fas-sgtd: settings.single.mask) to score or export it without"
        )
    if not stored.flatten(1).any(dim=1).all():
        raise TrainingError(
            "a sample of the store has no face mask. Build it with `depth: {spoof_mask: true}`, or train with "
            "--set settings.mask=ellipse (of fas-sgtd: settings.single.mask)"
        )
    return stored


def masked_depth(depth: Tensor, mask: Tensor) -> Tensor:
    """Mean depth of the face in all maps of a sample, in [0, 1] (FAS-SGTD, the second part of equation 11).

    depth: (B, ..., S, S), cut to [0, 1]; mask: bool, of that shape or one that spreads to it -> (B,).
    """
    weight = mask.to(depth.dtype).expand_as(depth).flatten(1)
    return (depth.clamp(0, 1).flatten(1) * weight).sum(dim=1) / weight.sum(dim=1)


class DepthNetwork(Network):
    """A network that draws depth, (B, 1, S, S), whose mean is the score; `mask` says the mean over what."""

    mask: FaceMask = "whole"

    def score(self, output: Tensor) -> Tensor:
        """Mean depth; raises TrainingError for a model that scores with stored masks."""
        return masked_depth(output, face_mask(self.mask, output, None))

    def score_batch(self, output: Tensor, batch: Batch) -> Tensor:
        """Mean depth, in the batch's masks if it is theirs."""
        return masked_depth(output.double(), face_mask(self.mask, output, batch.mask))
