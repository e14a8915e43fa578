"""The configuration of a build, and the digest that says whether two builds make the same pixels."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from storage.config import StoreConfig
from tasks.align import AlignConfig, Aligner
from tasks.aligners import load_aligner
from tasks.augment import ViewConfig
from tasks.depth import DepthConfig
from tasks.detect import DetectConfig, Detector
from tasks.detectors import load_detector
from tasks.errors import BuildError
from tasks.quality import QualityConfig
from tasks.read import ReadConfig

# Raise it with every change of code that changes what a build writes: stores are then rebuilt, not mixed.
PIXELS_VERSION = 2


class BuildConfig(BaseModel):
    """Everything that a build of a store can be told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    read: ReadConfig = ReadConfig()
    detect: DetectConfig = DetectConfig()
    align: AlignConfig = AlignConfig()
    quality: QualityConfig = QualityConfig()
    depth: DepthConfig = DepthConfig()
    view: ViewConfig = ViewConfig()
    store: StoreConfig = StoreConfig()
    fallback_to_given: bool = Field(
        default=False, description="crop by the dataset's box where the detector finds no face"
    )
    shard_samples: int = Field(default=1024, ge=1, description="samples a shard, about")
    batch: int = Field(
        default=16, ge=1, description="frames that go through detector and aligner together; never changes pixels"
    )
    seed: int = Field(default=0, description="of the views")

    def digest(self) -> str:
        """16 hex digits over all that affects a sample: options, weights, code version.

        Loads the detector and the aligner, so missing weights are an error here, before any work. How samples are cut
        into shards and batches does not count.
        """
        return hashlib.sha256(json.dumps(self.pixels(), sort_keys=True).encode()).hexdigest()[:16]

    def pixels(self) -> dict[str, Any]:
        """All that affects a sample, for the digest and for a store's lineage."""
        options = self.resolved().model_dump(mode="json", exclude={"shard_samples", "batch"})
        for name, option in (("detect", "weights"), ("align", "face_landmarker"), ("align", "prnet_weights")):
            del options[name][option]  # the same weights in another place are the same weights
        return {"options": options, "models": self.models(), "version": PIXELS_VERSION}

    def resolved(self) -> BuildConfig:
        """The same config as every worker will see it: `auto` decided, paths absolute.

        Raises BuildError for missing weights and for options that do not go together.
        """
        align = self.align
        if align.aligner == "auto":
            align = align.model_copy(update={"aligner": aligner_of(align).name})
        if self.depth.normalize == "z-over-max" and align.aligner != "prnet":
            raise BuildError(
                f"depth.normalize z-over-max needs a z that starts at 0, which aligner {align.aligner} does not give; "
                "use face-minmax, or aligner prnet"
            )
        if self.depth.source == "real" and self.depth.normalize != "face-minmax":
            raise BuildError(f"depth.source real is normalised by face-minmax, not by {self.depth.normalize}")
        paths = {
            name: path.resolve() for name in ("face_landmarker", "prnet_weights") if (path := getattr(align, name))
        }
        weights = self.detect.weights.resolve() if self.detect.weights else None
        return self.model_copy(
            update={
                "align": align.model_copy(update=paths),
                "detect": self.detect.model_copy(update={"weights": weights}),
            }
        )

    def models(self) -> dict[str, Any]:
        """Name, version and weights of the detector and the aligner, for a store's lineage."""
        aligner, detector = aligner_of(self.align), detector_of(self.detect)
        return {
            "aligner": {"name": aligner.name, "version": aligner.version, "weights_sha256": aligner.weights_sha256},
            "detector": {
                "name": detector.name if detector else "given",
                "weights_sha256": detector.weights_sha256 if detector else "",
            },
        }


def changed_options(before: object, now: dict[str, Any]) -> list[str]:
    """What differs between two `BuildConfig.pixels`, in words: `aligner facemesh→prnet`."""
    if not isinstance(before, dict):
        return ["another configuration, of which the snapshot keeps no record"]
    old, new = _flat(before), _flat(now)
    changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    # another aligner has another version and other weights: said once is enough
    chosen = {"options.align.aligner": "models.aligner.", "options.detect.detector": "models.detector."}
    implied = tuple(models for option, models in chosen.items() if option in changed)
    return [
        f"{_spoken(key)} {old.get(key, 'none')}→{new.get(key, 'none')}"
        for key in changed
        if not (implied and key.startswith(implied))
    ]


def _flat(value: object, key: str = "") -> dict[str, object]:
    if not isinstance(value, dict):
        return {key: value}
    return {name: leaf for k, inner in value.items() for name, leaf in _flat(inner, f"{key}.{k}" if key else k).items()}


def _spoken(key: str) -> str:
    parts = key.split(".")
    if parts[0] == "models":
        return " ".join(parts[1:])
    return (
        "code version"
        if key == "version"
        else parts[-1]
        if parts[-1] in ("aligner", "detector")
        else ".".join(parts[1:])
    )


@lru_cache(maxsize=2)
def detector_of(config: DetectConfig) -> Detector | None:
    """The detector, loaded once a process; None where the dataset's boxes are taken."""
    return None if config.detector == "given" else load_detector(config)


@lru_cache(maxsize=2)
def aligner_of(config: AlignConfig) -> Aligner:
    """The aligner, loaded once a process."""
    return load_aligner(config)
