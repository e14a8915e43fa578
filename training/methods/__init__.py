"""What a method is, and the methods there are: one file a published method, all behind this interface.

A method brings a scored network, a learner that knows how to train it, and the settings of its paper as defaults.
Everything else (reading, augmenting, loop, checkpoints, thresholds, evaluation, export) is the same for all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import pyarrow as pa
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.optim import Optimizer

from training.batch import Batch
from training.errors import TrainingError


@dataclass(frozen=True)
class Targets:
    """What a method asks the feed for, beside image and label.

    depth_size: side of the pseudo-depth, None for no depth. mask: where the face is, at that size (batch.mask).
    kinds: names of the attack types in the order of batch.kind (0 is live); kind_column is where they are read.
    frames, interval: a clip of `frames` pictures, `interval` frames of the video apart; then images are
    (B, frames, 3, S, S) and depths (B, frames, 1, d, d).
    """

    depth_size: int | None = None
    mask: bool = False
    kinds: tuple[str, ...] = ()
    kind_column: str = "attack"
    frames: int = 1
    interval: int = 1


class Moment(NamedTuple):
    """When a step happens: everything a schedule may depend on, so that a resumed run needs no counters."""

    epoch: int  # 1, 2, ...
    update: int  # 0, 1, ... over the whole run
    updates_an_epoch: int


@dataclass
class Objective:
    """What one optimiser descends on a batch: the sum of `terms`, which are weighted already. `shown` is for curves."""

    optimiser: str
    terms: Mapping[str, Tensor]
    shown: Mapping[str, Tensor] = field(default_factory=dict)


class Network(nn.Module, ABC):
    """What is kept of a training: scored, evaluated, exported."""

    parity = 1e-5  # how far onnxruntime's scores may be from torch's; measured 1e-7 for PDGAN

    @abstractmethod
    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) float RGB in [0, 1] -> the method's own output: a logit, a depth map, a cue map."""

    @abstractmethod
    def score(self, output: Tensor) -> Tensor:
        """forward's output -> (B,) in [0, 1], higher = more live; in float64 when the output is."""

    def score_batch(self, output: Tensor, batch: Batch) -> Tensor:
        """`score` in float64 of forward's output for a batch, for networks whose score needs its masks as well."""
        return self.score(output.double())

    def as_map(self, output: Tensor) -> Tensor | None:
        """What a person may look at: depth, or where the cue of an attack is, (B, h, w) in [0, 1]; None without one."""
        return output.abs().mean(dim=1).clamp(max=1) if output.ndim == 4 else None

    def fold(self) -> Network:
        """The same function with what only training needs folded away, in place; returns itself."""
        return self


class Exported(nn.Module):
    """image -> score: the graph that is shipped, as float64: in float32 every logit above 17 would tie at 1."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network.fold().eval()

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) float32 RGB in [0, 1] -> (B,) float64 score in [0, 1], higher = more live."""
        return self.network.score(self.network(image).double())


class Learner(ABC):
    """A network in training. `nets` is everything that is trained or averaged, and is what a checkpoint holds."""

    nets: nn.ModuleDict
    optimisers: dict[str, Optimizer]
    origin: Mapping[str, Any] = {"init": "he", "encoder": None}  # what it started from, for the model file
    monitor: tuple[str, Literal["min", "max"]] = ("dev_auc", "max")  # what makes an epoch the best

    def begin_epoch(self, epoch: int) -> None:
        """Set modes and what is frozen, for epoch 1, 2, ...; also called when a run is resumed in mid-epoch."""
        self.nets.train()

    @abstractmethod
    def losses(self, batch: Batch, moment: Moment) -> Iterator[Objective]:
        """The objectives of one batch, in turn: the loop goes back and updates before it asks for the next one.

        Under gradient accumulation the update comes only with the last of several batches; `moment` is the same in all.
        """

    def validate(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Errors of the network's output on a dev batch, (B,) each, beyond what its scores tell; averaged by class."""
        return {}

    def trouble(self, history: Sequence[Mapping[str, float]]) -> str | None:
        """What has gone wrong beyond repair, with advice, judged by the epochs so far; None while all is well."""
        return None


class Settings(BaseModel):
    """A method's own settings; the defaults are its paper's where it states them."""

    model_config = ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=Settings)


class Method(ABC, Generic[S]):
    """One published method. Subclasses state what they are in class attributes and build their parts on demand."""

    name: str  # in model files and commands
    reference: str  # paper, arXiv number
    settings: type[S]
    run: Mapping[str, Any] = {}  # what it asks of the run, laid under what a command asks: fields of TrainConfig

    @abstractmethod
    def epochs(self, settings: S) -> int:
        """How many epochs its schedule has."""

    @abstractmethod
    def targets(self, settings: S) -> Targets:
        """What it is trained with."""

    @abstractmethod
    def network_arguments(self, settings: S) -> dict[str, Any]:
        """JSON-able arguments of `network`; a model file holds them."""

    @abstractmethod
    def network(self, **arguments: Any) -> Network:  # noqa: ANN401 - each method's own
        """The scored network, untrained."""

    @abstractmethod
    def learner(self, network: Network, settings: S, seed: int) -> Learner:
        """Initialise the network (from `seed`, or from the weights that the settings name) and get ready to train it.

        Raises TrainingError for weights that do not fit.
        """

    def adapted(self, settings: S, train: pa.Table) -> S:
        """Settings with what depends on the data filled in, such as the names of attack types; raises TrainingError."""
        return settings


_WHERE = {
    "pdgan": "training.methods.pdgan_classifier:PDGAN",
    "pdgan-generator": "training.methods.pdgan:PDGANGenerator",
    "pixelwise-depth": "training.methods.pixelwise:PixelwiseDepth",
    "pixelwise-binary": "training.methods.pixelwise:PixelwiseBinary",
    "deepixbis": "training.methods.deepixbis:DeePixBiS",
    "cdcn": "training.methods.cdcn:CDCN",
    "cdcn++": "training.methods.cdcn:CDCNPlusPlus",
    "fas-sgtd": "training.methods.fas_sgtd:SGTD",
    "fas-sgtd-single": "training.methods.fas_sgtd_single:SGTDSingle",
    "lgsc": "training.methods.lgsc:LGSC",
    "googlenet": "training.methods.plain:GoogLeNetClassifier",
    "resnet18": "training.methods.plain:ResNet18Classifier",
    "se-resnet18": "training.methods.plain:SEResNet18Classifier",
}
METHODS = tuple(_WHERE)


def get_method(name: str) -> Method[Any]:
    """The method of that name; raises TrainingError naming those there are. Its module is imported only now."""
    if name not in _WHERE:
        raise TrainingError(f"method {name!r} is unknown; there are {', '.join(METHODS)}")
    module, _, attribute = _WHERE[name].partition(":")
    method: Method[Any] = getattr(import_module(module), attribute)()
    return method


def parameters(network: nn.Module) -> int:
    """How many weights are learnt."""
    return sum(p.numel() for p in network.parameters())
