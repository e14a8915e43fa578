"""What a person sees: the frame with the face's box, the state in words, the score against its threshold."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from flows.live.watch import Sight, State
from tasks.read import Frame

_GREEN, _RED, _GREY = (46, 160, 67), (218, 54, 51), (110, 118, 129)
WORDS: dict[State, tuple[str, tuple[int, int, int]]] = {
    "live": ("live", _GREEN),
    "spoof": ("spoof", _RED),
    "wait": ("hold still ...", _GREY),
    "look-at-the-camera": ("look at the camera", _GREY),
    "no-face": ("no face", _GREY),
    "too-small": ("come closer", _GREY),
    "blurred": ("blurred: hold still, clean the lens", _GREY),
}


def draw(image: Frame, sight: Sight, note: str = "") -> Frame:
    """`image` (H, W, 3) uint8 with the overlay of `sight`, as a copy; `note` is a small line at the bottom.

    The bar is the fused score from 0 to 1, the black mark is the threshold. Bottom right is the method's map, where it
    has one: depth, or the cue of an attack.
    """
    words, colour = WORDS[sight.state]
    picture = Image.fromarray(image)  # Pillow copies on the first stroke
    pen = ImageDraw.Draw(picture)
    width, height = picture.size
    unit = max(2, height // 120)
    face = sight.frame.face
    if face is not None:
        pen.rectangle([float(v) for v in face.box], outline=colour, width=unit)
    line = 9 * unit
    pen.rectangle([0, 0, width, line], fill=colour)
    label = words if sight.score is None else f"{words}  {sight.score:.3f}"
    pen.text((2 * unit, line / 2), label, fill="white", font=_font(6 * unit), anchor="lm")
    if sight.score is not None:
        left, right = width - 42 * unit, width - 2 * unit
        place = [left + round(v * (right - left)) for v in (sight.score, sight.frame.threshold)]
        pen.rectangle([left, 3 * unit, right, 6 * unit], outline="white")
        pen.rectangle([left, 3 * unit, place[0], 6 * unit], fill="white")
        pen.line([place[1], unit, place[1], 8 * unit], fill="black", width=unit)
    if sight.frame.map is not None:
        side = height // 4
        seen = Image.fromarray((np.clip(sight.frame.map, 0, 1) * 255).astype(np.uint8)).resize((side, side))
        picture.paste(seen.convert("RGB"), (width - side, height - side))
    if note:
        pen.text((2 * unit, height - 2 * unit), note, fill="white", stroke_fill="black", stroke_width=1,
                 font=_font(4 * unit), anchor="ls")  # fmt: skip
    return np.asarray(picture)


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
