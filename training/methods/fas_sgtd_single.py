"""FAS-SGTD's first stage: the depth of single frames (Wang et al., CVPR 2020, arXiv 2003.08061, section 5.2.2).

A model of its own: mean depth of the face is its score. It is what is exported, and what the second stage freezes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim import Optimizer

from training.batch import Batch
from training.errors import TrainingError
from training.methods import Learner, Method, Moment, Network, Objective, Settings, Targets
from training.methods.depth_loss import contrastive_depth_loss
from training.methods.face_mask import MASKS, DepthNetwork, FaceMask, face_mask
from training.methods.fas_sgtd_nets import Backbone, Gradient
from training.methods.one_network import DRAWS_NOTHING, PATIENCE
from training.methods.resnet import he_init

Rule = Literal["adadelta", "adam"]


class SGTDSingleConfig(Settings):
    """Settings of the first stage; the defaults are the paper's where it states them."""

    epochs: int = Field(default=30, ge=1, description="the paper does not say")
    optimiser: Rule = Field(
        default="adam",
        description="adam as released; the text has adadelta, which at this rate hardly moves a weight",
    )
    lr: float = Field(default=1e-4, gt=0)
    weight_decay: float = Field(default=0.0, ge=0, description="5e-4 as released")
    width: float = Field(default=1.0, gt=0, le=1, description="of all layers; 0.25 has a sixteenth of the work")
    gradient: Gradient = Field(
        default="magnitude",
        description="magnitude: as released; squared: equation 2 as printed, whose squares of squares overflow where "
        "the norms' running statistics lag; none: plain convolutions",
    )
    depth_size: int = Field(default=32, ge=8, description="side of the maps; input_size 256 fits 32 without resizing")
    contrast: float = Field(default=1.0, ge=0, description="weight of the contrastive depth loss; 0: none")
    reduction: Literal["sum", "mean"] = Field(
        default="sum",
        description="of depth losses over pixels and kernels: sum as in equations 5 and 6; mean as released, there "
        "with contrast 0.5 in stage 1 and 1 in stage 2",
    )
    mask: FaceMask = Field(default="ellipse", description=MASKS + "; the paper has the last")
    depth: Literal["any", "real", "generated"] = Field(
        default="any", description="refuse a store whose live depth is not all measured (real) or all generated"
    )


def depth_terms(
    depth: Tensor, target: Tensor, contrast: float, reduction: Literal["sum", "mean"], weight: float = 1.0
) -> dict[str, Tensor]:
    """Weighted Euclidean and contrastive depth loss (equations 5 and 6), means over maps.

    depth, target: (N, 1, S, S).
    """
    side = depth.shape[-1]
    pixels, contrasts = (side**2, 8 * (side - 2) ** 2) if reduction == "sum" else (1, 1)
    terms = {"euclidean": weight * pixels * (depth - target).square().mean()}
    if contrast > 0:
        terms["contrast"] = weight * contrast * contrasts * contrastive_depth_loss(depth, target)
    return terms


def open_relu(out: nn.Conv2d) -> None:
    """Let a map begin at 0.25 everywhere: where ReLU gives zeros only, there is no gradient, and it stays so."""
    with torch.no_grad():
        out.weight.mul_(0.1)
        assert out.bias is not None
        out.bias.fill_(0.25)


def optimiser(rule: Rule, weights: Iterator[nn.Parameter], lr: float, weight_decay: float) -> Optimizer:
    """Adam, or Adadelta with the paper's rho and epsilon."""
    if rule == "adam":
        return torch.optim.Adam(weights, lr, weight_decay=weight_decay)
    return torch.optim.Adadelta(weights, lr, rho=0.95, eps=1e-8, weight_decay=weight_decay)


def check_depth_source(wanted: str, train: pa.Table) -> None:
    """Raise TrainingError if the live depth of a store is not what was asked for: `real`, or `generated`."""
    if wanted == "any":
        return
    live = train.filter(pc.equal(train.column("label"), 0))
    measured = sum(bool(json.loads(extra).get("depth_real")) for extra in live.column("extra").to_pylist())
    if measured != (len(live) if wanted == "real" else 0):
        raise TrainingError(
            f"depth={wanted}: of {len(live)} live training samples {measured} have real depth. Build a store of "
            f"recordings with `depth: {{source: {'real' if wanted == 'real' else 'aligned'}}}` (docs/datasets.md)"
        )


def depth_errors(depth: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Mean |target - depth| of each sample, its mean depth and its target's: all-zero maps show in them."""
    over = tuple(range(1, depth.dim()))
    return {"l1": (depth - target).abs().mean(dim=over), "depth": depth.mean(dim=over), "target": target.mean(dim=over)}


def draws_zeros(history: Sequence[Mapping[str, float]], depth: str, target: str) -> str | None:
    """Advice where the maps have been empty for some epochs; depth, target: where the history has their means."""
    late = history[-PATIENCE:]
    if len(late) < PATIENCE or any(r[depth] >= DRAWS_NOTHING * r[target] for r in late):
        return None
    return "the backbone draws zeros for live faces too. Lower its learning rate, or start from another seed"


class SingleFrame(DepthNetwork):
    """The backbone with a score: mean depth of the face."""

    parity = 1e-4  # twelve blocks of gradients amplify rounding; measured 1e-5 after little training

    def __init__(
        self, width: float = 1.0, gradient: Gradient = "magnitude", depth_size: int = 32, mask: FaceMask = "ellipse"
    ) -> None:
        super().__init__()
        self.mask = mask
        self.backbone = Backbone(width, gradient, depth_size)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) float RGB in [0, 1] -> (B, 1, depth_size, depth_size), not negative."""
        return self.backbone.depth(self.backbone.features(image))


class SingleFrameLearner(Learner):
    """Euclidean and contrastive depth loss."""

    def __init__(self, model: SingleFrame, config: SGTDSingleConfig, seed: int) -> None:
        self.model, self.config = model, config
        he_init(model, torch.Generator().manual_seed(seed))
        open_relu(model.backbone.out)
        self.nets = nn.ModuleDict({"model": model})
        self.optimisers = {"model": optimiser(config.optimiser, model.parameters(), config.lr, config.weight_decay)}

    def losses(self, batch: Batch, moment: Moment) -> Iterator[Objective]:
        """One objective."""
        assert batch.depth is not None
        depth = self.model(batch.image)
        face_mask(self.config.mask, depth, batch.mask)  # lacking masks are said now, not after the first epoch
        yield Objective("model", depth_terms(depth, batch.depth, self.config.contrast, self.config.reduction))

    def validate(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Depth errors."""
        assert batch.depth is not None
        return depth_errors(output, batch.depth)

    def trouble(self, history: Sequence[Mapping[str, float]]) -> str | None:
        """An all-zero network."""
        return draws_zeros(history, "dev_depth_live", "dev_target_live")


class SGTDSingle(Method[SGTDSingleConfig]):
    """FAS-SGTD's single-frame network."""

    name = "fas-sgtd-single"
    reference = "Wang et al. 2020, arXiv 2003.08061, first stage"
    settings = SGTDSingleConfig
    run = {"input_size": 256, "batch": 48}  # noqa: RUF012 - read only, as its type in Method says

    def epochs(self, settings: SGTDSingleConfig) -> int:
        """As set."""
        return settings.epochs

    def targets(self, settings: SGTDSingleConfig) -> Targets:
        """Depth, and masks if they are the store's."""
        return Targets(depth_size=settings.depth_size, mask=settings.mask == "stored")

    def network_arguments(self, settings: SGTDSingleConfig) -> dict[str, Any]:
        """Shape of the network, and where its depth counts."""
        return {name: getattr(settings, name) for name in ("width", "gradient", "depth_size", "mask")}

    def network(self, **arguments: Any) -> SingleFrame:  # noqa: ANN401 - the interface's
        """The backbone."""
        return SingleFrame(**arguments)

    def learner(self, network: Network, settings: SGTDSingleConfig, seed: int) -> SingleFrameLearner:
        """He initialisation."""
        assert isinstance(network, SingleFrame)
        return SingleFrameLearner(network, settings, seed)

    def adapted(self, settings: SGTDSingleConfig, train: pa.Table) -> SGTDSingleConfig:
        """Nothing depends on the data, but its depth must be what was asked for."""
        check_depth_source(settings.depth, train)
        return settings
