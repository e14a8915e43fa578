"""model.json of a shipped model: all that a runtime must know to ask the network the question it was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from liveness.errors import ModelError

FORMAT: Final = 1
FILE = "model.json"
METADATA_KEY = "pseudodepth"  # of the ONNX file's own metadata, which repeats input, crop and output
_LARGEST = 1 << 20  # bytes; a card has about 8 kB


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CropRule(_Part):
    """How a face is cut out of a picture.

    A square around the middle of the detector's box, `margin` times as wide as its longer side, sampled to `size` x
    `size` pixels with one bilinear affine (filtered first where it shrinks), black outside the picture.
    """

    detector: str
    detector_sha256: str = Field(description="of its weights; '' where the store was cut by its dataset's own boxes")
    min_score: float
    max_side: int
    min_face: float = Field(description="faces whose box has a shorter side than this, px, are `too-small`")
    margin: float
    size: int


class ClipRule(_Part):
    """Frames of one video, in the order of time, each cut by the crop rule on its own."""

    frames: int = Field(ge=2)
    interval: int = Field(ge=1, description="frames of the video from one of a clip to the next")


class InputRule(_Part):
    """What the network is given: `image` (n, 3, size, size) float32, RGB, pixel / 255, no mean subtracted.

    With `clip` it is (n, clip.frames, 3, size, size). A crop of another size is resized to it, bilinear, filtered where
    it shrinks.
    """

    name: Literal["image"] = "image"
    size: int
    clip: ClipRule | None = None
    colour: Literal["RGB"] = "RGB"
    layout: Literal["NCHW", "NTCHW"] = "NCHW"
    dtype: Literal["float32"] = "float32"
    scaling: Literal["pixel / 255"] = "pixel / 255"


class OutputRule(_Part):
    """What it answers: `score` (n,) float64 in [0, 1], higher = more live."""

    name: Literal["score"] = "score"
    meaning: Literal["higher = more live"] = "higher = more live"
    positive_class: Literal["live"] = "live"
    accept: Literal["score >= threshold"] = "score >= threshold"


class FrozenThreshold(_Part):
    """A threshold and the dev samples that it comes from; limit: the rate of `rule` that they stay within."""

    value: float
    rule: str
    source: str
    digest: str
    limit: float | None = None


class Drift(_Part):
    """What a smaller network costs on the dev samples, measured."""

    samples: int
    largest: float = Field(description="|score - score of fp32|")
    mean: float
    auc: float
    auc_fp32: float
    changed_decisions: float = Field(description="share of dev samples, each at its own eer threshold")


class Network(_Part):
    """One ONNX file of the model; the scores of two precisions have thresholds of their own."""

    file: str
    sha256: str
    golden_score: float
    tolerance: float = Field(description="that golden_score is met within, on another machine")
    thresholds: dict[str, FrozenThreshold]
    drift: Drift | None = None


class Sharpness(_Part):
    """Below `least` a face is `blurred`; see `liveness.sharpness`. least None: not known, nothing is refused."""

    least: float | None
    source: str


class Golden(_Part):
    """A drawn picture, of the network's input size, that tells RGB from BGR and [0, 1] from other ranges.

    Of a model of clips, a clip: its frames stand one above another, the first on top.
    """

    file: str
    sha256: str
    score_bgr: float = Field(description="what a runtime that swaps red and blue would get")


class Licence(_Part):
    """Who may use what; `weights` is what was said at export."""

    code: str
    weights: str
    data: list[str] = Field(description="datasets that it learned from; their agreements bind the weights too")


class Card(_Part):
    """The whole of model.json."""

    format: Literal[1] = FORMAT
    kind: Literal["pseudodepth-liveness"] = "pseudodepth-liveness"
    name: str
    method: str
    created: str
    crop: CropRule
    input: InputRule
    output: OutputRule = OutputRule()
    networks: dict[Literal["fp32", "int8"], Network]
    sharpness: Sharpness
    golden: Golden
    licence: Licence
    training: dict[str, Any]

    def preprocessing(self) -> dict[str, Any]:
        """What the ONNX file repeats in its metadata; nothing of clips for a model of single frames."""
        parts = ("crop", "input", "output")
        return {part: getattr(self, part).model_dump(mode="json", exclude_none=True) for part in parts}


def read_card(folder: Path) -> Card:
    """The card of a model folder; raises ModelError for anything that is not one."""
    path = folder / FILE
    try:
        if path.stat().st_size > _LARGEST:
            raise ModelError(f"{path}: larger than {_LARGEST:,} bytes, which no model.json is")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelError(f"{path}: cannot read it ({reason}); expected a folder by `pseudodepth export`") from error
    try:
        return Card.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ModelError(
            f"{path}: {place}: {first['msg']}; expected a folder by `pseudodepth export` of this release (format "
            f"{FORMAT}), not a training run's"
        ) from error
