"""PDGAN's second stage: the encoder with a perceptron, live or spoof (arXiv 2101.00200, sections 3.2.1 and 5.1.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import cross_entropy

from training.batch import Batch
from training.errors import TrainingError
from training.methods import Learner, Method, Moment, Network, Objective, Settings, Targets
from training.methods.convolution import fold_central_differences
from training.methods.initial import initialise
from training.methods.resnet import Encoder


class ClassifierConfig(Settings):
    """Settings of the classifier; defaults are PDGAN's within a dataset (50 epochs less the 12 of its pre-training)."""

    encoder: Path | None = Field(
        default=None,
        description="what it starts from: folder of `pretrain` or of a trained model, a .safetensors of an encoder, a "
        "ResNet-18 weights file with torchvision's names; none = He initialisation",
    )
    epochs: int = Field(
        default=38, ge=1, description="38 within a dataset, 8 across; 50 and 20 for an encoder that saw no data"
    )
    lr: float = Field(default=1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(default=0.0, ge=0)
    hidden: tuple[int, ...] = Field(default=(64, 32), description="widths of the perceptron's hidden layers")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="before each of the perceptron's layers")
    freeze_encoder_epochs: int = Field(default=0, ge=0, description="epochs in which the perceptron alone learns")
    multihead: Literal["attack", "attack_detail"] | None = Field(
        default=None, description="column of attack types that a second head names; the paper's multi-head ablation"
    )
    logits: Literal[1, 2] = Field(default=1, description="2: a softmax of live and spoof, the score is its live part")
    theta: float = Field(default=0.0, ge=0, le=1, description="central differences in the encoder; 0.7 is usual")
    style_mixing: float = Field(default=0.0, ge=0, le=1, description="batches with styles mixed within classes; 0.5")
    kinds: tuple[str, ...] = Field(default=(), description="the types, filled in from the store")


class Classifier(Network):
    """Encoder, global average, and a perceptron 128-64-32-1: 712,465 parameters, the paper's 0.71 M.

    The paper flattens the embedding; a 7 x 7 x 128 flatten cannot be had in 0.71 M, the average can. With `kinds` > 0 a
    second perceptron tells that many attack types and live apart in training (the paper's 0.72 M).
    """

    def __init__(
        self,
        hidden: Sequence[int] = (64, 32),
        kinds: int = 0,
        dropout: float = 0.0,
        logits: Literal[1, 2] = 1,
        theta: float = 0.0,
        style_mixing: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(theta=theta, style_mixing=style_mixing)
        self.head = _perceptron(self.encoder.channels, hidden, logits, dropout)
        self.kind_head = _perceptron(self.encoder.channels, hidden, kinds + 1, dropout) if kinds else None

    def embed(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        """(B, 3, S, S) -> (B, 128): what the heads are given."""
        return self.encoder(image, label).mean(dim=(2, 3))

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, 224, 224) float RGB in [0, 1] -> (B,) logit of "live"."""
        return self.logit(self.embed(image))

    def logit(self, embedding: Tensor) -> Tensor:
        """(B, 128) -> (B,); of two logits their difference, whose sigmoid is the softmax's live part."""
        out = self.head(embedding)
        return out[:, 0] if out.shape[1] == 1 else out[:, 0] - out[:, 1]

    def fold(self) -> Classifier:
        """Central differences become ordinary convolutions."""
        fold_central_differences(self)
        return self

    def score(self, output: Tensor) -> Tensor:
        """The probability of live."""
        return torch.sigmoid(output)


class ClassifierLearner(Learner):
    """The classifier in training: binary cross-entropy, and cross-entropy of the types with the same weight."""

    def __init__(self, model: Classifier, config: ClassifierConfig, seed: int) -> None:
        self.model, self.config = model, config
        self.origin = initialise(model, model.encoder, config.encoder, seed)
        self.nets = nn.ModuleDict({"model": model})
        adam = torch.optim.Adam(model.parameters(), config.lr, config.betas, weight_decay=config.weight_decay)
        self.optimisers = {"model": adam}

    def begin_epoch(self, epoch: int) -> None:
        """Train all, or the heads alone while the encoder is frozen (its norms too)."""
        frozen = epoch <= self.config.freeze_encoder_epochs
        self.model.train()
        self.model.encoder.train(mode=not frozen)
        self.model.encoder.requires_grad_(not frozen)

    def losses(self, batch: Batch, moment: Moment) -> Iterator[Objective]:
        """One objective; the logit says "live", so its target is 1 - label."""
        embedding, live = self.model.embed(batch.image, batch.label), 1 - batch.label
        logit = self.model.logit(embedding)
        terms = {"bce": bce(logit, live)}
        shown = {"accuracy": (logit.detach() > 0).float().eq(live).float().mean()}
        if self.model.kind_head is not None:
            assert batch.kind is not None
            named = self.model.kind_head(embedding)
            terms["kind"] = cross_entropy(named, batch.kind)
            shown["kind_accuracy"] = named.detach().argmax(1).eq(batch.kind).float().mean()
        yield Objective("model", terms, shown)


class PDGAN(Method[ClassifierConfig]):
    """PDGAN's classifier, from a pre-trained encoder or from any other initialisation."""

    name = "pdgan"
    reference = "Paik, Ko, Yoo 2021, arXiv 2101.00200"
    settings = ClassifierConfig

    def epochs(self, settings: ClassifierConfig) -> int:
        """As set."""
        return settings.epochs

    def targets(self, settings: ClassifierConfig) -> Targets:
        """Labels alone, and types for the multi-head ablation."""
        return Targets(kinds=settings.kinds, kind_column=settings.multihead or "attack")

    def adapted(self, settings: ClassifierConfig, train: pa.Table) -> ClassifierConfig:
        """With the attack types of the training side."""
        if settings.multihead is None:
            return settings
        kinds = sorted(set(train.filter(pc.field("label") == 1).column(settings.multihead).to_pylist()))
        if len(kinds) < 2:
            raise TrainingError(
                f"multihead: column {settings.multihead} has {len(kinds)} attack types in train ({kinds}); a second "
                "head needs two. Use multihead 'attack_detail', or leave it out"
            )
        return settings.model_copy(update={"kinds": tuple(kinds)})

    def network_arguments(self, settings: ClassifierConfig) -> dict[str, Any]:
        """Widths and heads."""
        names = ("dropout", "logits", "theta", "style_mixing")
        chosen = {name: getattr(settings, name) for name in names}
        return {"hidden": list(settings.hidden), "kinds": len(settings.kinds), **chosen}

    def network(self, **arguments: Any) -> Classifier:  # noqa: ANN401 - the interface's
        """Encoder and perceptron."""
        return Classifier(**arguments)

    def learner(self, network: Network, settings: ClassifierConfig, seed: int) -> ClassifierLearner:
        """The network with its starting weights."""
        assert isinstance(network, Classifier)
        return ClassifierLearner(network, settings, seed)


def _perceptron(width: int, hidden: Sequence[int], outputs: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n in [*hidden, outputs]:
        if dropout:
            layers.append(nn.Dropout(dropout))
        layers += [nn.Linear(width, n), nn.ReLU(inplace=True)]
        width = n
    return nn.Sequential(*layers[:-1])
