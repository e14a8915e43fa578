"""From the scores of frames to one decision that does not flicker."""

from __future__ import annotations

from collections import deque
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator


class FusionConfig(BaseModel):
    """How many frames decide, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    how: Literal["mean", "k-of-n"] = Field(
        default="mean", description="mean: of the scores; k-of-n: live if at least k of the last n frames are live"
    )
    n: int = Field(default=15, ge=1, le=1000, description="scored frames of this face that count; half a second of 30")
    k: int = Field(default=10, ge=1, description="of them must be live (k-of-n)")
    least: int = Field(default=5, ge=1, description="scored frames before there is a decision (mean)")

    @model_validator(mode="after")
    def _fits(self) -> FusionConfig:
        if self.how == "k-of-n" and self.k > self.n:
            raise ValueError(f"k = {self.k} of n = {self.n} frames: k must not be larger")
        if self.how == "mean" and self.least > self.n:
            raise ValueError(f"least = {self.least} frames before a decision, but n = {self.n} are kept")
        return self


class Fusion:
    """The last scores of one face. It forgets them when another face comes, or after n frames without a score."""

    def __init__(self, config: FusionConfig) -> None:
        self._config = config
        self._scores: deque[float] = deque(maxlen=config.n)
        self._without = 0

    def __len__(self) -> int:
        return len(self._scores)

    def add(self, score: float | None) -> float | None:
        """Count a frame (None: it has no score); the fused score, None while too few frames have one.

        k-of-n gives the k-th highest score: it reaches a threshold exactly if k of the frames do. Until n frames are
        known, those to come count as spoof.
        """
        if score is None:
            self._without += 1
            if self._without >= self._config.n:
                self.forget()
            return None
        self._without = 0
        self._scores.append(score)
        needed = self._config.least if self._config.how == "mean" else self._config.k
        if len(self._scores) < needed:
            return None
        if self._config.how == "mean":
            return float(np.mean(self._scores))
        return sorted(self._scores, reverse=True)[self._config.k - 1]

    def forget(self) -> None:
        """Begin anew: what comes is somebody else."""
        self._scores.clear()
        self._without = 0
