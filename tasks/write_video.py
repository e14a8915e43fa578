"""Frames to a video file: H.264, or the MJPEG that webcams send."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.errors import BuildError

H264, MJPEG = ("libx264", "yuv420p"), ("mjpeg", "yuvj420p")
CONTAINERS = {".mp4": H264, ".mkv": H264, ".mov": H264, ".avi": MJPEG, ".mjpeg": MJPEG}
_FINE = Fraction(1, 90_000)  # s; an MJPEG stream knows frames only, not times
# mostly transparent: what tells a print from skin must come through
_OPTIONS = {"libx264": {"crf": "16", "preset": "veryfast"}, "mjpeg": {"qmin": "2", "qmax": "3"}}

Write = Callable[[NDArray[np.uint8], float], None]


@contextmanager
def write_video(path: Path, rate: float) -> Iterator[Write]:
    """A function that appends an image (H, W, 3) uint8 RGB shown from so many seconds on; `path` says the format.

    Times ascend; an odd last row or column is left out, as the codecs demand. The file gets its name at the end; after
    an exception, or without frames, nothing is left. Raises BuildError for an unknown format or a place that cannot be
    written.
    """
    import av

    if path.suffix.lower() not in CONTAINERS:
        raise BuildError(f"{path}: no video format is known by that name; expected one of {' '.join(CONTAINERS)}")
    codec, pixel_format = CONTAINERS[path.suffix.lower()]
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    last = -1
    try:
        with _named(path):
            part.touch()  # FFmpeg would say only with the first frame that it cannot write here
            container = av.open(str(part), "w")
        with closing(container):
            per_second = Fraction(rate).limit_denominator(1000)
            stream = container.add_stream(codec, rate=per_second, options=_OPTIONS[codec])
            assert isinstance(stream, av.VideoStream)
            stream.pix_fmt = pixel_format
            clock = _FINE if codec == "libx264" else 1 / per_second
            stream.codec_context.time_base = clock

            def write(image: NDArray[np.uint8], seconds: float) -> None:
                nonlocal last
                height, width = (side // 2 * 2 for side in image.shape[:2])
                if last < 0:
                    stream.width, stream.height = width, height
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]), format="rgb24")
                last = max(last + 1, round(seconds / clock))
                frame.pts, frame.time_base = last, clock
                with _named(path):
                    container.mux(stream.encode(frame))

            yield write
            with _named(path):
                if last >= 0:
                    container.mux(stream.encode())
                container.close()
        if last >= 0:
            part.rename(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """The file system's errors (FFmpeg raises them too), with the name that the user gave."""
    try:
        yield
    except OSError as error:
        raise BuildError(f"{path}: cannot write a video there ({error.strerror})") from error
