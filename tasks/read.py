"""From a file to RGB frames: pictures by Pillow, videos by `tasks.video`, HDF5 recordings by `tasks.recordings`.

Whatever is wrong with a file ends as one `MediumError` with a reason; nothing here kills a build.
"""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import Image, UnidentifiedImageError

from tasks.errors import MediumError
from tasks.frames import ReadConfig
from tasks.recordings import read_recording
from tasks.video import Frame, read_video

__all__ = ["Frame", "ReadConfig", "check_file", "read_frames"]

_GREY = (128, 128, 128, 255)  # behind transparent pixels: neither a bright nor a dark frame
_EXIF_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# `max_pixels` is checked before anything is decoded; Pillow's own warning about large files would only repeat it
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def read_frames(path: str | os.PathLike[str], kind: str, config: ReadConfig) -> Iterator[tuple[int, Frame]]:
    """Yield (frame number, image (H, W, 3) uint8 RGB) of one medium, upright; a picture is frame 0.

    `kind` is `image`, `video` or `recording`. A video is decoded as a stream, in display order. Raises MediumError for
    a file without usable frames, and after the last good frame of a video that breaks off.
    """
    check_file(path)
    if kind == "image":
        yield 0, _read_image(path, config)
    elif kind == "recording":
        yield from ((frame.number, frame.image) for frame in read_recording(path, config))
    else:
        yield from read_video(path, config)


def check_file(path: str | os.PathLike[str]) -> None:
    """Raise MediumError for what is no file that can be read: missing, empty, a pipe."""
    try:
        status = os.stat(path)
    except FileNotFoundError as error:
        raise MediumError("missing", f"{path}: no such file") from error
    except OSError as error:
        raise MediumError("unreadable", f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
        raise MediumError("unreadable", f"{path}: not a regular file")
    if status.st_size == 0:
        raise MediumError("empty-file", f"{path}: 0 bytes")


def _read_image(path: str | os.PathLike[str], config: ReadConfig) -> Frame:
    try:
        with Image.open(path) as image:
            config.check_pixels(path, *image.size)
            try:
                image.load()
            except MemoryError:
                raise
            except Exception as error:  # Pillow's decoders raise whatever their parsers trip over
                if isinstance(error, OSError) and error.errno is not None:  # the file system's, not the file's
                    raise
                raise MediumError("truncated", f"{path}: damaged or cut off ({error})") from error
            rgb = _to_rgb(image, path)
            turn = _TURNS.get(_orientation(image))
            return np.ascontiguousarray(rgb if turn is None else np.asarray(Image.fromarray(rgb).transpose(turn)))
    except MediumError:
        raise
    except UnidentifiedImageError as error:
        raise MediumError("not-an-image", f"{path}: no picture format that Pillow knows") from error
    except Image.DecompressionBombError as error:
        raise MediumError("too-large", f"{path}: {error}") from error
    except MemoryError as error:
        raise MediumError("unreadable", f"{path}: not enough memory to decode it") from error
    except OSError as error:
        if error.errno is None:  # raised by Pillow's parsers, not by the file system
            raise MediumError("truncated", f"{path}: damaged or cut off ({error})") from error
        raise MediumError("unreadable", f"{path}: {error.strerror}") from error
    except Exception as error:  # a header that no format's parser expects
        raise MediumError("not-an-image", f"{path}: {type(error).__name__}: {error}") from error


def _to_rgb(image: Image.Image, path: object) -> Frame:
    """Any of Pillow's modes as (H, W, 3) uint8."""
    if image.mode == "F":
        raise MediumError("not-an-image", f"{path}: floating-point pixels have no known range; convert it to 8 bits")
    if image.mode.startswith("I"):  # 16-bit grey: convert() would cut at 255 instead of scaling
        grey = np.clip(np.asarray(image).astype(np.int64), 0, 65_535)
        return np.repeat(((grey * 255 + 32_767) // 65_535).astype(np.uint8)[..., None], 3, axis=2)
    if image.has_transparency_data:
        front = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", front.size, _GREY), front)
    return np.asarray(image.convert("RGB"))


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none; asked after loading, since Pillow turns TIFF files itself."""
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # a broken EXIF block does not make the pixels bad
        return 1
