"""What every training run is asked, whatever its method."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from training.augment import AugmentConfig

Tracker = Literal["tensorboard", "mlflow", "wandb"]


class LoopConfig(BaseModel):
    """How the loop updates, watches, saves and stops."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    devices: int = Field(default=1, ge=1, description="processes, one a GPU (or CPU share); each draws its own batches")
    precision: Literal["32", "bf16", "16"] = Field(default="32", description="bf16 and 16 are mixed precision")
    accumulate: int = Field(default=1, ge=1, description="batches whose gradients are averaged before an update")
    clip_norm: float | None = Field(default=None, gt=0, description="largest norm of one optimiser's gradient")
    schedule: Literal["constant", "cosine", "step"] = Field(default="constant", description="of every learning rate")
    warmup_updates: int = Field(default=0, ge=0, description="updates over which learning rates rise from 0")
    milestones: tuple[int, ...] = Field(
        default=(), description="epochs after which schedule `step` multiplies by gamma"
    )
    gamma: float = Field(default=0.3, gt=0, le=1)
    ema: float | None = Field(default=None, gt=0, lt=1, description="decay of the averaged weights that are then kept")
    select: Literal["last", "best"] = Field(
        default="last", description="the epoch whose weights are kept; best is on dev"
    )
    early_stop: int | None = Field(default=None, ge=1, description="stop after so many epochs without a better dev")
    checkpoint_updates: int | None = Field(
        default=None, ge=1, description="updates between checkpoints; none = an epoch"
    )
    keep: int = Field(default=2, ge=1, description="newest checkpoints that are kept, beside the best on dev")
    stop_on_trouble: bool = Field(default=True, description="stop when the method finds its training has collapsed")
    track: tuple[Tracker, ...] = Field(default=("tensorboard",), description="where curves and sample grids go")
    track_updates: int = Field(default=10, ge=1, description="updates between two points of a curve")


class TrainConfig(BaseModel):
    """Batches, chance, who is held back, where it runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch: int = Field(default=32, ge=2, multiple_of=2, description="of one process; half of it live, half spoof")
    input_size: int = Field(
        default=224, ge=64, description="side of the network's input; stored crops of another size are resized"
    )
    seed: int = Field(default=0, ge=0)
    protocol: str | None = Field(
        default=None, description="name of a protocol, or a YAML file of your own; none: the store's own splits"
    )
    dev_share: float = Field(default=0.2, gt=0, lt=1, description="of train's subjects, if the store has no dev split")
    balance: Literal["class-domain", "class", "none"] = Field(
        default="class-domain",
        description="who fills a batch: classes and datasets in turn, classes alone, or as stored",
    )
    augment: AugmentConfig = AugmentConfig()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    loop: LoopConfig = LoopConfig()
