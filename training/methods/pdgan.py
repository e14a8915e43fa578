"""PDGAN (Paik, Ko, Yoo, arXiv 2101.00200): learn to draw the pseudo-depth of a face, then keep the encoder.

The printed objectives (equations 1-3) add terms to be maximised to one to be minimised and double a D; what is
minimised here, with a = adversarial logit, k = class logit, c = label, x = stored depth, z = image:

    L_D = l_d  [BCE(a(x), 1) + BCE(a(G(z)), 0)] + l_cd [BCE(k(x), c) + BCE(k(G(z)), c)]
    L_G = l_g   BCE(a(G(z)), 1)                 + l_cg  BCE(k(G(z)), c)  + l_l mean|x - G(z)|

G is trained on the L1 term alone for `warmup_epochs`, then on all of it; D makes one step every `critic_every` steps
of G. At the published rates the L1 term outweighs the rest about 25 to 1, so keep `lambda_g = lambda_cg = 0` (no critic
at all) in mind as the ablation that any claim about the adversarial part needs.
"""

from __future__ import annotations

from itertools import chain
from typing import Literal, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import l1_loss

from training.feed import Batch
from training.methods.pdgan_nets import DEPTH_SIZES, Classifier, Critic, Decoder
from training.methods.resnet import Encoder, he_init

Net = TypeVar("Net", bound=nn.Module)
__all__ = [
    "DEPTH_SIZES",
    "Classifier",
    "ClassifierLearner",
    "Critic",
    "Decoder",
    "Encoder",
    "PDGANConfig",
    "PDGANLearner",
]


class PDGANConfig(BaseModel):
    """Weights and schedule of the pre-training, with the paper's values (intra-dataset) as defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    depth_size: Literal[32, 56, 112, 224] = Field(default=224, description="side of the generated depth")
    lambda_l: float = Field(
        default=100.0, ge=0, description="L1; the paper has 100 within a dataset, 50 across datasets"
    )
    lambda_g: float = Field(default=0.2, ge=0)
    lambda_cg: float = Field(default=0.1, ge=0)
    lambda_d: float = Field(default=1.0, ge=0)
    lambda_cd: float = Field(default=1.0, ge=0)
    warmup_epochs: int = Field(default=5, ge=0, description="L1 only")
    adversarial_epochs: int = Field(default=7, ge=0)
    critic_every: int = Field(default=25, ge=1, description="generator steps to one critic step")
    generator_lr: float = Field(default=1e-4, gt=0)
    generator_betas: tuple[float, float] = (0.5, 0.999)
    critic_lr: float = Field(default=1e-5, gt=0)
    critic_momentum: float = Field(default=0.0, ge=0, lt=1)

    @property
    def epochs(self) -> int:
        """Warm-up and adversarial together."""
        return self.warmup_epochs + self.adversarial_epochs

    @property
    def adversarial(self) -> bool:
        """False for the L1-only ablation: then there is nothing for a critic to do."""
        return self.lambda_g > 0 or self.lambda_cg > 0


def generator_loss(
    fake: Tensor, depth: Tensor, label: Tensor, critic: tuple[Tensor, Tensor] | None, config: PDGANConfig
) -> dict[str, Tensor]:
    """The weighted terms of L_G; their sum is the loss. critic: D's two logits (B,) for `fake`, None in the warm-up.

    fake, depth: (B, 1, S, S) in [0, 1]; label: (B,) float, spoof 1. The non-saturating form: G wants a high logit.
    """
    terms = {"g_l1": config.lambda_l * l1_loss(fake, depth)}
    if critic is not None:
        adversarial, category = critic
        terms["g_adversarial"] = config.lambda_g * bce(adversarial, torch.ones_like(adversarial))
        terms["g_class"] = config.lambda_cg * bce(category, label)
    return terms


def critic_loss(
    real: tuple[Tensor, Tensor], fake: tuple[Tensor, Tensor], label: Tensor, config: PDGANConfig
) -> dict[str, Tensor]:
    """The weighted terms of L_D from D's two logits (B,) for stored and for generated maps."""
    (real_adversarial, real_category), (fake_adversarial, fake_category) = real, fake
    return {
        "d_stored": config.lambda_d * bce(real_adversarial, torch.ones_like(real_adversarial)),
        "d_generated": config.lambda_d * bce(fake_adversarial, torch.zeros_like(fake_adversarial)),
        "d_class_stored": config.lambda_cd * bce(real_category, label),
        "d_class_generated": config.lambda_cd * bce(fake_category, label),
    }


class PDGANLearner:
    """Generator (encoder, decoder) and critic in training."""

    def __init__(self, config: PDGANConfig, *, seed: int, device: torch.device) -> None:
        self.config, self.device = config, device
        random = torch.Generator().manual_seed(seed)
        self.encoder = _place(he_init(Encoder(), random), device)
        self.decoder = _place(he_init(Decoder(config.depth_size), random), device)
        self.critic = _place(he_init(Critic(), random), device)
        self.generator_optimiser = torch.optim.Adam(
            chain(self.encoder.parameters(), self.decoder.parameters()), config.generator_lr, config.generator_betas
        )
        self.critic_optimiser = torch.optim.SGD(self.critic.parameters(), config.critic_lr, config.critic_momentum)
        self.in_warmup = True
        self.adversarial_steps = 0
        self.critic_steps = 0

    def generate(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) float RGB in [0, 1] -> (B, 1, depth_size, depth_size) in (0, 1)."""
        return self.decoder(self.encoder(image))

    def begin_epoch(self, epoch: int) -> None:
        """All networks train; the critic comes in after the warm-up."""
        self.in_warmup = epoch <= self.config.warmup_epochs or not self.config.adversarial
        for net in (self.encoder, self.decoder, self.critic):
            net.train()

    def step(self, batch: Batch) -> dict[str, float]:
        """One generator step, and after every `critic_every`-th adversarial one a critic step."""
        fake = self.generate(batch.image)
        judged = None
        if not self.in_warmup:
            self.critic.requires_grad_(False)  # G's gradient passes through D and leaves nothing in it
            judged = self.critic(fake)
        terms = generator_loss(fake, batch.depth, batch.label, judged, self.config)
        _descend(terms, self.generator_optimiser)
        shown = {name: value.item() for name, value in terms.items()}
        if not self.in_warmup:
            self.critic.requires_grad_(True)
            self.adversarial_steps += 1
            if self.adversarial_steps % self.config.critic_every == 0:
                shown |= self._critic_step(batch, fake.detach())
        return shown

    def _critic_step(self, batch: Batch, fake: Tensor) -> dict[str, float]:
        real, made = self.critic(batch.depth), self.critic(fake)
        terms = critic_loss(real, made, batch.label, self.config)
        _descend(terms, self.critic_optimiser)
        self.critic_steps += 1
        told = torch.cat([real[0] > 0, made[0] <= 0]).float().mean().item()
        named = (torch.cat([real[1], made[1]]) > 0).float().eq(batch.label.repeat(2)).float().mean().item()
        shown = {name: value.item() for name, value in terms.items()}
        return shown | {"critic_adversarial_accuracy": told, "critic_class_accuracy": named}


class ClassifierLearner:
    """The encoder with its perceptron, trained on live or spoof (binary cross-entropy, Adam)."""

    def __init__(
        self,
        model: Classifier,
        *,
        lr: float,
        betas: tuple[float, float],
        freeze_encoder_epochs: int,
        device: torch.device,
    ) -> None:
        self.model = _place(model, device)
        self.freeze_encoder_epochs = freeze_encoder_epochs
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr, betas)

    def begin_epoch(self, epoch: int) -> None:
        """Train all, or the head alone while the encoder is frozen (its norms too)."""
        frozen = epoch <= self.freeze_encoder_epochs
        self.model.train()
        self.model.encoder.train(mode=not frozen)
        self.model.encoder.requires_grad_(not frozen)

    def step(self, batch: Batch) -> dict[str, float]:
        """One step; the logit says "live", so the target is 1 - label."""
        logit, live = self.model(batch.image), 1 - batch.label
        terms = {"bce": bce(logit, live)}
        _descend(terms, self.optimiser)
        right = (logit.detach() > 0).float().eq(live).float().mean().item()
        return {"bce": terms["bce"].item(), "accuracy": right}


def _descend(terms: dict[str, Tensor], optimiser: torch.optim.Optimizer) -> None:
    optimiser.zero_grad(set_to_none=True)
    torch.stack(list(terms.values())).sum().backward()
    optimiser.step()


def _place(net: Net, device: torch.device) -> Net:
    # channels last halves a training step on CPU (8.3 -> 4.9 ms a sample at depth 56, two threads)
    for parameter in net.to(device).parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return net
