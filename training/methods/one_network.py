"""What most methods are beside PDGAN: one network, one Adam, and a loss that is a sum of terms."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import l1_loss, mse_loss

from training.batch import Batch
from training.errors import TrainingError
from training.methods import Learner, Method, Moment, Network, Objective, Settings, Targets
from training.methods.depth_loss import contrastive_depth_loss
from training.methods.face_mask import MASKS, FaceMask, face_mask
from training.methods.initial import initialise

DRAWS_NOTHING = 0.02  # of the live targets' mean depth: a network below it draws zeros
PATIENCE = 5  # epochs of zeros after which nothing else is to be expected


class AdamSettings(Settings):
    """Schedule and optimiser; each method has its own defaults."""

    encoder: Path | None = Field(
        default=None,
        description="what it starts from: a trained model's folder, or a weights file that fits; none = He's rule",
    )
    epochs: int = Field(default=30, ge=1)
    lr: float = Field(default=1e-4, gt=0)
    weight_decay: float = Field(default=5e-5, ge=0)


class DepthSettings(AdamSettings):
    """A network that draws depth."""

    depth_size: int = Field(default=224, ge=14, description="side of the map that is drawn")
    loss: Literal["mse", "l1"] = Field(default="mse", description="l1's minimum may be an empty map: most pixels are 0")
    lambda_cdl: float = Field(default=0.0, ge=0, description="weight of the contrastive depth loss beside it")
    mask: FaceMask = Field(default="whole", description=MASKS)


S = TypeVar("S", bound=AdamSettings)


class OneNetworkLearner(Learner, Generic[S]):
    """A network in training by Adam; subclasses say what the loss is.

    A network's part that may start from a published file is its attribute `encoder`; others start as a whole.
    """

    def __init__(self, network: Network, settings: S, seed: int, besides: nn.ModuleDict | None = None) -> None:
        """besides: what is trained with the network and not kept; initialised by the caller."""
        self.network, self.settings = network, settings
        self.origin = initialise(network, getattr(network, "encoder", network), settings.encoder, seed)
        self.nets = nn.ModuleDict({"network": network, **(besides or {})})
        adam = torch.optim.Adam(self.nets.parameters(), settings.lr, weight_decay=settings.weight_decay)
        self.optimisers = {"network": adam}

    @abstractmethod
    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted terms of the loss of one batch."""

    def losses(self, batch: Batch, moment: Moment) -> Iterator[Objective]:
        """One objective."""
        yield Objective("network", self.terms(batch))


class BinaryLearner(OneNetworkLearner[AdamSettings]):
    """A network in training whose output is one logit, of "live"."""

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """Binary cross-entropy; labels are 1 for spoof."""
        return {"bce": bce(self.network(batch.image), 1 - batch.label)}


class DepthLearner(OneNetworkLearner[DepthSettings]):
    """A network in training whose output is the pseudo-depth."""

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """Distance of the maps, and of their contrasts."""
        assert batch.depth is not None
        drawn, settings = self.network(batch.image), self.settings
        if drawn.shape != batch.depth.shape:
            raise TrainingError(
                f"pictures of {batch.image.shape[-1]} px give maps of {drawn.shape[-1]} px, the targets have "
                f"{batch.depth.shape[-1]}: set settings.depth_size={drawn.shape[-1]}, or input_size"
            )
        face_mask(settings.mask, drawn, batch.mask)  # lacking masks are said now, not after the first epoch
        distance = mse_loss if settings.loss == "mse" else l1_loss
        terms: dict[str, Tensor] = {settings.loss: distance(drawn, batch.depth)}
        if settings.lambda_cdl > 0:
            terms["contrast"] = settings.lambda_cdl * contrastive_depth_loss(drawn, batch.depth)
        return terms

    def validate(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Mean |target - drawn| of each sample, and the means of both."""
        assert batch.depth is not None
        error = (output - batch.depth).abs().mean(dim=(1, 2, 3))
        return {"l1": error, "depth": output.mean(dim=(1, 2, 3)), "target": batch.depth.mean(dim=(1, 2, 3))}

    def trouble(self, history: Sequence[Mapping[str, float]]) -> str | None:
        """Empty maps for live faces, several epochs in turn."""
        late = history[-PATIENCE:]
        if len(late) == PATIENCE and all(r["dev_depth_live"] < DRAWS_NOTHING * r["dev_target_live"] for r in late):
            return (
                "the network draws zeros for live faces too. Lower settings.lr, start from another seed, or use "
                "settings.loss=mse"
            )
        return None


class OneNetworkMethod(Method[S]):
    """Subclasses state their classes, and which settings shape the network."""

    networks: ClassVar[type[Network]]
    learners: ClassVar[type[Learner]]
    shaped_by: ClassVar[tuple[str, ...]] = ()

    def epochs(self, settings: S) -> int:
        """As set."""
        return settings.epochs

    def targets(self, settings: S) -> Targets:
        """Depth where the settings have a size for it, with masks if they are the store's; else labels alone."""
        if not isinstance(settings, DepthSettings):
            return Targets()
        return Targets(depth_size=settings.depth_size, mask=settings.mask == "stored")

    def network_arguments(self, settings: S) -> dict[str, Any]:
        """The settings that shape it."""
        return {name: getattr(settings, name) for name in self.shaped_by}

    def network(self, **arguments: Any) -> Network:  # noqa: ANN401 - the interface's
        """Untrained."""
        return self.networks(**arguments)

    def learner(self, network: Network, settings: S, seed: int) -> Learner:
        """The network with its starting weights."""
        make: Any = self.learners
        learner: Learner = make(network, settings, seed)
        return learner
