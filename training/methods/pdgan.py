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

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import l1_loss

from training.batch import Batch
from training.methods import Learner, Method, Moment, Network, Objective, Settings, Targets
from training.methods.pdgan_nets import Critic, Decoder
from training.methods.resnet import Encoder, he_init


class PDGANConfig(Settings):
    """Weights and schedule of the pre-training, with the paper's values (intra-dataset) as defaults."""

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


class Generator(Network):
    """Encoder and decoder: an image to its pseudo-depth, zero for a spoof. Its mean depth is a score of its own."""

    def __init__(self, depth_size: int = 224) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder(depth_size)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) float RGB in [0, 1] -> (B, 1, depth_size, depth_size) in (0, 1)."""
        return self.decoder(self.encoder(image))

    def score(self, output: Tensor) -> Tensor:
        """Mean depth (Sohn et al.'s decision for a depth network)."""
        return output.mean(dim=(1, 2, 3))


class PDGANLearner(Learner):
    """Generator and critic in training."""

    monitor = ("dev_l1", "min")

    def __init__(self, generator: Generator, config: PDGANConfig, seed: int) -> None:
        self.config = config
        random = torch.Generator().manual_seed(seed)
        self.generator = he_init(generator, random)
        self.critic = he_init(Critic(), random)
        self.nets = nn.ModuleDict({"generator": self.generator, "critic": self.critic})
        self.optimisers = {
            "generator": torch.optim.Adam(generator.parameters(), config.generator_lr, config.generator_betas),
            "critic": torch.optim.SGD(self.critic.parameters(), config.critic_lr, config.critic_momentum),
        }

    def in_warmup(self, moment: Moment) -> bool:
        """Whether L1 alone counts now; always in the L1-only ablation."""
        return moment.epoch <= self.config.warmup_epochs or not self.config.adversarial

    def critic_is_due(self, moment: Moment) -> bool:
        """Whether this update ends with a critic step: every `critic_every`-th adversarial one does."""
        adversarial = moment.update + 1 - self.config.warmup_epochs * moment.updates_an_epoch
        return not self.in_warmup(moment) and adversarial % self.config.critic_every == 0

    def losses(self, batch: Batch, moment: Moment) -> Iterator[Objective]:
        """The generator's objective and, when it is due, the critic's."""
        assert batch.depth is not None
        fake = self.generator(batch.image)
        judged = None
        if not self.in_warmup(moment):
            self.critic.requires_grad_(False)  # G's gradient passes through D and leaves nothing in it
            judged = self.critic(fake)
        yield Objective("generator", generator_loss(fake, batch.depth, batch.label, judged, self.config))
        if self.critic_is_due(moment):
            self.critic.requires_grad_(True)
            yield self._critic_objective(batch.depth, fake.detach(), batch.label)

    def _critic_objective(self, depth: Tensor, fake: Tensor, label: Tensor) -> Objective:
        real, made = self.critic(depth), self.critic(fake)
        told = torch.cat([real[0] > 0, made[0] <= 0]).float().mean()
        named = (torch.cat([real[1], made[1]]) > 0).float().eq(label.repeat(2)).float().mean()
        shown = {"critic_adversarial_accuracy": told, "critic_class_accuracy": named}
        return Objective("critic", critic_loss(real, made, label, self.config), shown)

    def validate(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Mean |target - generated| of each sample, and the mean generated depth: all-zero output shows in both."""
        assert batch.depth is not None
        error = (output - batch.depth).abs().mean(dim=(1, 2, 3))
        return {"l1": error, "depth": output.mean(dim=(1, 2, 3)), "target": batch.depth.mean(dim=(1, 2, 3))}

    def trouble(self, history: Sequence[Mapping[str, float]]) -> str | None:
        """An all-zero generator, or a critic that knows everything, for two epochs after the warm-up."""
        late = [r for r in history if r["epoch"] > self.config.warmup_epochs][-2:]
        if len(late) < 2:
            return None
        if all(r["dev_depth_live"] < 0.02 * r["dev_target_live"] for r in late):
            return (
                "the generator draws zeros for live faces too. Raise lambda_l (the paper has 50 to 100), lower "
                "lambda_g and lambda_cg, or give it more warmup_epochs"
            )
        if self.config.lambda_g > 0 and all(
            r.get("d_stored", 1) + r.get("d_generated", 1) < 0.02 * self.config.lambda_d for r in late
        ):
            return (
                "the critic tells generated from stored maps without error, so its gradient says nothing. Lower "
                "critic_lr, raise critic_every, or train with lambda_g = lambda_cg = 0 (L1 only)"
            )
        return None


class PDGANGenerator(Method[PDGANConfig]):
    """PDGAN's first stage: the image-to-depth generator whose encoder is kept."""

    name = "pdgan-generator"
    reference = "Paik, Ko, Yoo 2021, arXiv 2101.00200, section 3.2"
    settings = PDGANConfig

    def epochs(self, settings: PDGANConfig) -> int:
        """Warm-up and adversarial together."""
        return settings.epochs

    def targets(self, settings: PDGANConfig) -> Targets:
        """Depth maps."""
        return Targets(depth_size=settings.depth_size)

    def network_arguments(self, settings: PDGANConfig) -> dict[str, Any]:
        """Side of the map."""
        return {"depth_size": settings.depth_size}

    def network(self, **arguments: Any) -> Generator:  # noqa: ANN401 - the interface's
        """Encoder and decoder."""
        return Generator(**arguments)

    def learner(self, network: Network, settings: PDGANConfig, seed: int) -> PDGANLearner:
        """Networks by He initialisation."""
        assert isinstance(network, Generator)
        return PDGANLearner(network, settings, seed)
