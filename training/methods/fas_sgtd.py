"""FAS-SGTD (Wang et al., CVPR 2020, arXiv 2003.08061): depth of a clip, from its frames' details and their motion.

Stage 1 trains the backbone on single frames; stage 2 freezes it and trains the temporal module and the binary head:

    D_refined = (1 - a) D_single + a D_multi                                             (4)
    L = b CE(fcs(mean D_refined), live) + (1 - b) (euclidean + contrast)                 (8)
    score = b p_live + (1 - b) mean of D_refined in the face                             (11)

The released code is not the paper. Its seven deviations (`Deviation`) are options, none of them on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from training.batch import Batch
from training.checkpoint import load_model
from training.errors import TrainingError
from training.methods import Learner, Method, Moment, Network, Objective, Settings, Targets
from training.methods.face_mask import FaceMask, face_mask, masked_depth
from training.methods.fas_sgtd_nets import Backbone, Block, ConvGRUCell, Gradient, TemporalModule
from training.methods.fas_sgtd_single import (
    Rule,
    SGTDSingle,
    SGTDSingleConfig,
    SingleFrame,
    check_depth_source,
    depth_errors,
    depth_terms,
    draws_zeros,
    open_relu,
    optimiser,
)
from training.methods.resnet import he_init

Deviation = Literal[
    "one-step-gru",  # the recurrence begins anew with every pair of frames
    "mixed-clips",  # temporal maps of several clips are read in the wrong order
    "unflipped-depth",  # half of the clips are mirrored, their depth is not
    "frame-colour",  # each frame of a clip has a colour change of its own
    "softmax-twice",  # cross-entropy of what is a softmax already
    "depth-over-frames",  # depth losses are divided by the frames of a clip, not by its maps
    "softmax-score",  # the score is a softmax of [score, 1 - depth]
]


class SGTDConfig(Settings):
    """Settings of FAS-SGTD; the defaults are the paper's where it states them."""

    single: SGTDSingleConfig = Field(default=SGTDSingleConfig(), description="stage 1, and what both stages share")
    backbone: Path | None = Field(
        default=None, description="folder of a trained fas-sgtd-single: then there is no stage 1 here"
    )
    epochs: int = Field(default=10, ge=1, description="of stage 2; the paper does not say")
    optimiser: Rule = Field(default="adadelta", description="of stage 2")
    lr: float = Field(default=1e-2, gt=0, description="of stage 2")
    weight_decay: float = Field(default=0.0, ge=0, description="of stage 2; 5e-4 as released")
    frames: int = Field(default=5, ge=2, description="of a clip")
    interval: int = Field(default=3, ge=1, description="frames of the video from one of a clip to the next")
    alpha: float = Field(default=0.6, ge=0, le=1, description="share of the temporal depth in the refined one")
    beta: float = Field(default=0.8, ge=0, lt=1, description="share of the binary loss and score; 0: no binary head")
    block: Block = Field(
        default="ststb",
        description="ststb: current features not compressed, levels fused after it, 4.62 M parameters in all; "
        "ststb-text: compressed, the level before goes in, as the text has it; off: of the ablation",
    )
    recurrent: bool = Field(default=True, description="the ConvGRU; without it a convolution draws the temporal depth")
    released: tuple[Deviation, ...] = Field(default=(), description="deviations of the released code to repeat")


class SGTDNetwork(Network):
    """A clip to its refined depth maps; the head makes a decision of their mean."""

    parity = 1e-4  # as of its backbone; measured 4e-6 to 2e-5 after ten epochs, 1e-3 after one: its norms are too young

    def __init__(
        self,
        width: float = 1.0,
        gradient: Gradient = "magnitude",
        depth_size: int = 32,
        mask: FaceMask = "ellipse",
        block: Block = "ststb",
        alpha: float = 0.6,
        beta: float = 0.8,
        *,
        recurrent: bool = True,
        released: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.mask, self.alpha, self.beta, self.released = mask, alpha, beta, frozenset(released)
        self.backbone = Backbone(width, gradient, depth_size)
        self.temporal = TemporalModule(width, block, depth_size, recurrent=recurrent, released=released)
        self.head = nn.Sequential(nn.Linear(depth_size**2, 64), nn.ReLU(), nn.Linear(64, 2)) if beta > 0 else None

    def forward(self, image: Tensor) -> Tensor:
        """(B, T, 3, S, S) float RGB in [0, 1] -> (B, T - 1, 1, depth_size, depth_size): maps of all frames but one."""
        frames = image.shape[1]
        levels = self.backbone.features(image.flatten(0, 1))
        single = self.backbone.depth(levels).unflatten(0, (-1, frames))[:, :-1]
        multi = self.temporal([level.unflatten(0, (-1, frames)) for level in levels])
        return (1 - self.alpha) * single + self.alpha * multi

    def logits(self, output: Tensor) -> Tensor:
        """Refined maps -> (B, 2): spoof, live."""
        assert self.head is not None
        weights = next(self.head.parameters())
        found: Tensor = self.head(output.mean(dim=1).flatten(1).to(weights.dtype))
        return found

    def score(self, output: Tensor) -> Tensor:
        """Equation 11 with the ellipse; raises TrainingError for a model that scores with stored masks."""
        return self._score(output, None)

    def score_batch(self, output: Tensor, batch: Batch) -> Tensor:
        """Equation 11."""
        return self._score(output.double(), None if batch.mask is None else batch.mask[:, :-1])

    def as_map(self, output: Tensor) -> Tensor:
        """The mean refined depth of a clip."""
        return output.clamp(0, 1).mean(dim=(1, 2))

    def fold(self) -> Network:
        """Nothing to fold; raises TrainingError for `mixed-clips`, of which no clip has a score of its own."""
        if "mixed-clips" in self.released:
            raise TrainingError(
                "settings.released has mixed-clips: the score of a clip depends on the others of its batch, so it "
                "cannot be exported; train it without"
            )
        return self

    def _score(self, output: Tensor, stored: Tensor | None) -> Tensor:
        depth = masked_depth(output, face_mask(self.mask, output, stored))
        score = depth
        if self.head is not None:
            score = self.beta * self.logits(output).to(output.dtype).softmax(dim=1)[:, 1] + (1 - self.beta) * depth
        if "softmax-score" in self.released:
            return torch.sigmoid(score - (1 - depth))  # a softmax of two
        return score


class SGTDLearner(Learner):
    """Both stages: the backbone by its own optimiser, then all but the backbone."""

    def __init__(self, model: SGTDNetwork, config: SGTDConfig, seed: int) -> None:
        self.model, self.config = model, config
        he_init(model, torch.Generator().manual_seed(seed))
        open_relu(model.backbone.out)
        for module in model.modules():
            if isinstance(module, ConvGRUCell):
                module.remember()
        if config.backbone is not None:
            _load_backbone(model.backbone, config)
            self.origin = {"init": "pretrained", "encoder": str(config.backbone)}
        self.nets = nn.ModuleDict({"model": model})
        rest = [p for name, p in model.named_parameters() if not name.startswith("backbone.")]
        single = config.single
        self.optimisers = {
            "single": optimiser(single.optimiser, model.backbone.parameters(), single.lr, single.weight_decay),
            "multi": optimiser(config.optimiser, iter(rest), config.lr, config.weight_decay),
        }

    def begin_epoch(self, epoch: int) -> None:
        """Stage 2 leaves the backbone as it is, its norms too; no epoch of stage 1 is ever the best."""
        first = epoch <= single_epochs(self.config)
        self.model.train()
        self.model.backbone.train(mode=first)
        self.model.backbone.requires_grad_(first)
        self.monitor = ("stage 1 has none", "max") if first else ("dev_auc", "max")

    def losses(self, batch: Batch, moment: Moment) -> Iterator[Objective]:
        """The single frames' objective, or in stage 2 that of equation 8."""
        assert batch.depth is not None
        single, released = self.config.single, self.config.released
        face_mask(single.mask, batch.depth, batch.mask)  # lacking masks are said now, not after the first epoch
        image = _recoloured(batch.image) if "frame-colour" in released else batch.image
        if "unflipped-depth" in released:
            turn = torch.rand(len(image), device=image.device) < 0.5
            image = torch.where(turn[:, None, None, None, None], image.flip(-1), image)
        if moment.epoch <= single_epochs(self.config):
            backbone = self.model.backbone
            depth = backbone.depth(backbone.features(image.flatten(0, 1)))
            terms = depth_terms(depth, batch.depth.flatten(0, 1), single.contrast, single.reduction)
            shown = {"single_depth": depth.mean(), "single_target": batch.depth.mean()}
            yield Objective("single", {f"single_{name}": term for name, term in terms.items()}, shown)
            return
        refined, target = self.model(image), batch.depth[:, :-1]
        weight = 1 - self.config.beta
        if "depth-over-frames" in released:
            weight *= 1 - 1 / self.config.frames
        terms = depth_terms(refined.flatten(0, 1), target.flatten(0, 1), single.contrast, single.reduction, weight)
        if self.model.head is not None:
            logits = self.model.logits(refined)
            logits = logits.softmax(dim=1) if "softmax-twice" in released else logits
            terms["binary"] = self.config.beta * cross_entropy(logits, (1 - batch.label).long())
        yield Objective("multi", terms)

    def validate(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Errors of the refined depth."""
        assert batch.depth is not None
        return depth_errors(output, batch.depth[:, :-1])

    def trouble(self, history: Sequence[Mapping[str, float]]) -> str | None:
        """A dead backbone in stage 1. Refined maps may be flat for long, but they end in no ReLU and can recover."""
        first = [r for r in history if r["epoch"] <= single_epochs(self.config)]
        return draws_zeros(first, "single_depth", "single_target")


def single_epochs(config: SGTDConfig) -> int:
    """How long stage 1 is: nothing with a trained backbone."""
    return 0 if config.backbone is not None else config.single.epochs


def _recoloured(image: Tensor) -> Tensor:
    """(B, T, 3, S, S) with the brightness of each frame changed by up to a quarter, each on its own."""
    gain = 1 + 0.25 * (2 * torch.rand(*image.shape[:2], 1, 1, 1, device=image.device) - 1)
    return (image * gain).clamp(0, 1)


def _load_backbone(backbone: Backbone, config: SGTDConfig) -> None:
    assert config.backbone is not None
    net, card = load_model(config.backbone)
    if not isinstance(net, SingleFrame):
        raise TrainingError(f"{config.backbone}: a model of {card['method']}; expected one of fas-sgtd-single")
    wanted = SGTDSingle().network_arguments(config.single)
    different = [n for n in ("width", "gradient", "depth_size") if card["network"][n] != wanted[n]]
    if different:
        said = ", ".join(f"--set settings.single.{name}={card['network'][name]}" for name in different)
        raise TrainingError(f"{config.backbone}: this backbone has another shape; add {said}")
    backbone.load_state_dict(net.backbone.state_dict())


class SGTD(Method[SGTDConfig]):
    """FAS-SGTD, both stages."""

    name = "fas-sgtd"
    reference = "Wang et al. 2020, arXiv 2003.08061"
    settings = SGTDConfig
    run = {"input_size": 256, "batch": 2}  # noqa: RUF012 - read only, as its type in Method says

    def epochs(self, settings: SGTDConfig) -> int:
        """Both stages together."""
        return single_epochs(settings) + settings.epochs

    def targets(self, settings: SGTDConfig) -> Targets:
        """Clips with their depth, and masks if they are the store's."""
        return Targets(
            depth_size=settings.single.depth_size,
            mask=settings.single.mask == "stored",
            frames=settings.frames,
            interval=settings.interval,
        )

    def network_arguments(self, settings: SGTDConfig) -> dict[str, Any]:
        """Shapes, shares, and what of the released code is in the network."""
        own = {name: getattr(settings, name) for name in ("block", "alpha", "beta", "recurrent")}
        return SGTDSingle().network_arguments(settings.single) | own | {"released": list(settings.released)}

    def network(self, **arguments: Any) -> SGTDNetwork:  # noqa: ANN401 - the interface's
        """Backbone, temporal module, head."""
        return SGTDNetwork(**arguments)

    def learner(self, network: Network, settings: SGTDConfig, seed: int) -> SGTDLearner:
        """He initialisation, or a trained backbone."""
        assert isinstance(network, SGTDNetwork)
        return SGTDLearner(network, settings, seed)

    def adapted(self, settings: SGTDConfig, train: pa.Table) -> SGTDConfig:
        """Nothing depends on the data, but its depth must be what was asked for."""
        check_depth_source(settings.single.depth, train)
        return settings
