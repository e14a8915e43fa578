"""From a file to RGB frames: pictures by Pillow, videos by PyAV.

Whatever is wrong with a file ends as one `MediumError` with a reason; nothing here kills a build.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field

from tasks.errors import MediumError

if TYPE_CHECKING:
    import av

Frame = npt.NDArray[np.uint8]  # (H, W, 3) RGB

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


class ReadConfig(BaseModel):
    """Which frames of a video are taken, and how large a picture may be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: Literal["spread", "every"] = Field(
        default="spread", description="spread: n frames evenly over the video; every: each n-th frame"
    )
    n: int = Field(default=8, ge=1, description="how many frames (spread), or the step (every)")
    max_pixels: int = Field(
        default=50_000_000, ge=1, description="larger pictures are rejected undecoded: a guard of memory"
    )


def read_frames(path: str | os.PathLike[str], kind: str, config: ReadConfig) -> Iterator[tuple[int, Frame]]:
    """Yield (frame number, image (H, W, 3) uint8 RGB) of one medium, upright; a picture is frame 0.

    `kind` is `image` or `video`. A video is decoded as a stream, in display order. Raises MediumError for a file
    without usable frames, and after the last good frame of a video that breaks off.
    """
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
    if kind == "image":
        yield 0, _read_image(path, config)
    else:
        yield from _read_video(path, config)


def _read_image(path: str | os.PathLike[str], config: ReadConfig) -> Frame:
    try:
        with Image.open(path) as image:
            _check_pixels(path, *image.size, config)
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


def _check_pixels(path: object, width: int, height: int, config: ReadConfig) -> None:
    if width * height > config.max_pixels:
        raise MediumError(
            "too-large", f"{path}: {width} x {height} pixels, the limit is {config.max_pixels} (read.max_pixels)"
        )


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


def _read_video(path: str | os.PathLike[str], config: ReadConfig) -> Iterator[tuple[int, Frame]]:
    import av

    wanted, broken = _wanted_frames(path, config)
    given = 0
    try:
        with av.open(os.fspath(path)) as container:
            for number, frame in enumerate(_decode(container)):
                if number > wanted[-1]:
                    break
                if number in wanted:
                    _check_pixels(path, frame.width, frame.height, config)
                    yield number, _upright(frame)
                    given += 1
    except MemoryError as error:
        raise MediumError("unreadable", f"{path}: not enough memory to decode it") from error
    except av.FFmpegError as error:
        if error.errno in (errno.EIO, errno.EACCES, errno.ESTALE):
            raise MediumError("unreadable", f"{path}: {error.strerror}") from error
        broken = str(error)
    if not given:
        raise MediumError("no-frames", f"{path}: no frame could be decoded: {broken or 'the video is empty'}")
    if broken:
        raise MediumError("truncated", f"{path}: {given} frames could be read, then: {broken}")


def _wanted_frames(path: str | os.PathLike[str], config: ReadConfig) -> tuple[Sequence[int], str | None]:
    """Numbers of the frames to take, and what the header announces but the file lacks.

    Headers may lie or say nothing, so the packets are counted, which decodes nothing. With `spread`, each wanted frame
    is the middle one of n equal parts.
    """
    import av

    count, end, broken = 0, 0.0, None
    try:
        with av.open(os.fspath(path)) as container:
            if not container.streams.video:
                raise MediumError("no-frames", f"{path}: no video stream in it")
            stream = container.streams.video[0]
            if stream.codec_context is None:  # the index names no codec that can be decoded
                raise MediumError(
                    "no-frames", f"{path}: its video cannot be decoded by this FFmpeg, or its index is cut off"
                )
            _check_pixels(path, stream.codec_context.width, stream.codec_context.height, config)
            duration = (container.duration or 0) / av.time_base
            try:
                for packet in container.demux(stream):
                    count += packet.size > 0
                    if packet.pts is not None:
                        end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            except av.FFmpegError as error:
                broken = str(error)
            if count < stream.frames:
                broken = f"the header announces {stream.frames} frames, the file holds {count}"
            elif end < 0.9 * duration - 0.2:  # sound may go on a little longer than the pictures
                broken = f"the header announces {duration:.1f} s, the pictures end at {end:.1f} s"
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, MediumError):
            raise
        raise MediumError("not-an-image", f"{path}: not a video, or cut off before its index ({error})") from error
    if config.frames == "every":
        return range(0, sys.maxsize, config.n), broken
    return sorted({(2 * i + 1) * count // (2 * config.n) for i in range(config.n)}), broken


def _decode(container: av.container.InputContainer) -> Iterator[av.VideoFrame]:
    """Frames of the first video stream; after a damaged packet, first the good frames that the decoder still holds."""
    import av

    stream = container.streams.video[0]
    try:
        for packet in container.demux(stream):
            yield from packet.decode()
    except av.FFmpegError:
        yield from stream.codec_context.decode(None)
        raise


def _upright(frame: av.VideoFrame) -> Frame:
    """RGB pixels, turned as the file's display matrix asks a player to (quarter turns)."""
    image = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))
