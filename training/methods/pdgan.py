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
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import l1_loss

from training.batch import Batch
from training.methods import Learner, Method, Moment, Network, Objective, Settings, Targets
from training.methods.convolution import fold_central_differences
from training.methods.depth_loss import contrastive_depth_loss
from training.methods.initial import load_encoder
from training.methods.pdgan_nets import Critic, Decoder, Norm, Variant
from training.methods.resnet import Encoder, he_init, normal_init


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
    # what the paper leaves open; docs/training.md says why these are the defaults
    encoder: Path | None = Field(
        default=None, description="what the encoder starts from (the paper: ImageNet); none = the init below"
    )
    init: Literal["he", "normal"] = Field(default="he", description="normal is pix2pix's N(0, 0.02)")
    decoder: Variant = Field(default="narrow", description="blocks and widths of the decoder")
    skips: bool = Field(default=False, description="the decoder sees the encoder's features, as a U-Net's does")
    output: Literal["sigmoid", "tanh"] = "sigmoid"
    norm: Norm = Field(default="batch", description="of decoder and critic")
    critic_input: Literal["depth", "rgb+depth"] = "depth"
    real_target: float = Field(default=1.0, gt=0.5, le=1, description="0.9: one-sided label smoothing of stored maps")
    real_noise: float = Field(default=0.0, ge=0, description="deviation of noise on what the critic sees, both sides")
    weight_decay: float = Field(default=0.0, ge=0, description="of the generator")
    # beyond the paper
    lambda_cdl: float = Field(default=0.0, ge=0, description="contrastive depth loss; 0.5 to 1 times lambda_l is usual")
    theta: float = Field(default=0.0, ge=0, le=1, description="central differences in the encoder; 0.7 is usual")
    style_mixing: float = Field(default=0.0, ge=0, le=1, description="batches with styles mixed within classes; 0.5")

    @model_validator(mode="after")
    def _instances_have_pixels(self) -> PDGANConfig:
        if self.norm == "instance" and self.depth_size == 32:
            raise ValueError("norm 'instance' needs depth_size 56 or more: the critic ends in a single pixel at 32")
        return self

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
    if config.lambda_cdl > 0:
        terms["g_contrast"] = config.lambda_cdl * contrastive_depth_loss(fake, depth)
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
        "d_stored": config.lambda_d * bce(real_adversarial, torch.full_like(real_adversarial, config.real_target)),
        "d_generated": config.lambda_d * bce(fake_adversarial, torch.zeros_like(fake_adversarial)),
        "d_class_stored": config.lambda_cd * bce(real_category, label),
        "d_class_generated": config.lambda_cd * bce(fake_category, label),
    }


class Generator(Network):
    """Encoder and decoder: an image to its pseudo-depth, zero for a spoof. Its mean depth is a score of its own."""

    def __init__(
        self,
        depth_size: int = 224,
        decoder: Variant = "narrow",
        norm: Norm = "batch",
        output: Literal["sigmoid", "tanh"] = "sigmoid",
        *,
        skips: bool = False,
        theta: float = 0.0,
        style_mixing: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(theta=theta, style_mixing=style_mixing)
        self.skips = skips
        # the encoder's features at 14, 28, 56 and 112 px have these channels
        self.decoder = Decoder(depth_size, 128, decoder, norm, output, (64, 32, 16, 16, 0) if skips else ())

    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        """(B, 3, S, S) float RGB in [0, 1] -> (B, 1, depth_size, depth_size) in (0, 1)."""
        *features, embedding = self.encoder.features(image, label)
        return self.decoder(embedding, features[::-1] if self.skips else ())

    def fold(self) -> Generator:
        """Central differences become ordinary convolutions."""
        fold_central_differences(self)
        return self

    def score(self, output: Tensor) -> Tensor:
        """Mean depth (Sohn et al.'s decision for a depth network)."""
        return output.mean(dim=(1, 2, 3))


class PDGANLearner(Learner):
    """Generator and critic in training."""

    monitor = ("dev_l1", "min")

    def __init__(self, generator: Generator, config: PDGANConfig, seed: int) -> None:
        self.config = config
        random = torch.Generator().manual_seed(seed)
        start = he_init if config.init == "he" else normal_init
        self.generator = start(generator, random)
        self.critic = start(Critic(config.norm, colour=config.critic_input == "rgb+depth"), random)
        self.origin = load_encoder(generator.encoder, config.encoder) or {"init": config.init, "encoder": None}
        self.nets = nn.ModuleDict({"generator": self.generator, "critic": self.critic})
        self.optimisers = {
            "generator": torch.optim.Adam(
                generator.parameters(), config.generator_lr, config.generator_betas, weight_decay=config.weight_decay
            ),
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
        fake = self.generator(batch.image, batch.label)
        judged = None
        if not self.in_warmup(moment):
            self.critic.requires_grad_(False)  # G's gradient passes through D and leaves nothing in it
            judged = self.critic(self._blurred(fake), batch.image)
        yield Objective("generator", generator_loss(fake, batch.depth, batch.label, judged, self.config))
        if self.critic_is_due(moment):
            self.critic.requires_grad_(True)
            yield self._critic_objective(batch, fake.detach())

    def _blurred(self, depth: Tensor) -> Tensor:
        # an exact zero map betrays a stored one: a sigmoid never draws it
        return depth + self.config.real_noise * torch.randn_like(depth) if self.config.real_noise > 0 else depth

    def _critic_objective(self, batch: Batch, fake: Tensor) -> Objective:
        assert batch.depth is not None
        label = batch.label
        real, made = (self.critic(self._blurred(depth), batch.image) for depth in (batch.depth, fake))
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
        """Shape of the decoder, and what is special about the encoder."""
        names = ("depth_size", "decoder", "norm", "output", "skips", "theta", "style_mixing")
        return {name: getattr(settings, name) for name in names}

    def network(self, **arguments: Any) -> Generator:  # noqa: ANN401 - the interface's
        """Encoder and decoder."""
        return Generator(**arguments)

    def learner(self, network: Network, settings: PDGANConfig, seed: int) -> PDGANLearner:
        """Networks by their initialisation, the encoder from its file if there is one."""
        assert isinstance(network, Generator)
        return PDGANLearner(network, settings, seed)
