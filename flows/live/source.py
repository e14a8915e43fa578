"""Where frames come from: a webcam, a video file, a folder of pictures, or the URL of a stream.

A camera does not wait. `Newest` reads it in a thread and hands out the newest frame only: what was not fetched in time
is dropped and counted, so nothing ever queues, and a slow consumer sees fewer frames, not older ones. A file is played
at its own speed, as if it were a camera.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.remote_url import redacted
from tasks.errors import BuildError, MediumError
from tasks.read import Frame, ReadConfig, read_frames
from tasks.sources.media import IMAGE_SUFFIXES
from tasks.video import upright

CAMERA_SIZE, CAMERA_RATE = (640, 480), 30
FOLDER_RATE = 30.0  # pictures a second
_TIMEOUT = (10.0, 10.0)  # s to connect, and to wait for the next packet
_STREAMS = {"rtsp", "rtsps", "rtmp", "http", "https", "udp", "tcp", "srt"}
_DEVICES = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}


@dataclass(frozen=True)
class Shot:
    """One frame: image (H, W, 3) uint8 RGB; its number in the source; seconds since the source's first.

    taken: `time.perf_counter()` of the moment it shows, as far as we know: a file's was due then, a camera's came then.
    """

    image: Frame
    number: int
    seconds: float
    taken: float


def shots(source: str, *, paced: bool = True) -> Iterator[Shot]:
    """The frames of a webcam (its number or device name), video file, folder of pictures or stream URL, upright.

    paced: files and folders give each frame when it is due, not before. Raises BuildError for a source that cannot be
    opened or that breaks off; the end of a file is the end.
    """
    path = Path(source)
    scheme = source.partition("://")[0].lower() if "://" in source else ""
    if scheme:
        if scheme not in _STREAMS:
            raise BuildError(
                f"{redacted(source)}: no stream of a camera; expected one of {', '.join(sorted(_STREAMS))}"
            )
        rtsp = {"rtsp_transport": "tcp"} if scheme.startswith("rtsp") else {}
        # not fflags=nobuffer: it throws away what was read to find the codec, and with it the first key frame
        return _arriving(_decoded(source, options={**rtsp, "flags": "low_delay"}))
    if path.is_dir():
        return _due(_pictures(path)) if paced else _arriving(_pictures(path))
    if path.is_file():
        return _due(_decoded(source)) if paced else _arriving(_decoded(source))
    return _arriving(_decoded(*_device(source)))


class Newest:
    """Iterates over the newest frame of `source`, each once; `dropped` counts those that came while it was busy.

    What the source raises is raised here. Leaving the `with` block ends the reading.
    """

    def __init__(self, source: Iterator[Shot]) -> None:
        self.dropped = 0
        self._source = source
        self._changed = threading.Condition()
        self._shot: Shot | None = None
        self._ended, self._stop = False, False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._read, name="camera", daemon=True)

    def __enter__(self) -> Newest:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._thread.join(timeout=1.0)  # a camera that hangs is left to the end of the process

    def __iter__(self) -> Iterator[Shot]:
        while True:
            with self._changed:
                while self._shot is None and not self._ended:
                    self._changed.wait()
                shot, self._shot = self._shot, None
            if shot is None:
                if self._error is not None:
                    raise self._error
                return
            yield shot

    def _read(self) -> None:
        try:
            for shot in self._source:
                with self._changed:
                    self.dropped += self._shot is not None
                    self._shot = shot
                    self._changed.notify()
                if self._stop:
                    break
        except BaseException as error:  # raised again where it is seen
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify()


def _arriving(frames: Iterator[tuple[Frame, float]]) -> Iterator[Shot]:
    for number, (image, seconds) in enumerate(frames):
        yield Shot(image, number, seconds, time.perf_counter())


def _due(frames: Iterator[tuple[Frame, float]]) -> Iterator[Shot]:
    start = None
    for number, (image, seconds) in enumerate(frames):
        if start is None:
            start = time.perf_counter() - seconds
        due = start + seconds
        if (early := due - time.perf_counter()) > 0:
            time.sleep(early)
        yield Shot(image, number, seconds, due)


def _pictures(folder: Path) -> Iterator[tuple[Frame, float]]:
    names = sorted(name for name in os.listdir(folder) if Path(name).suffix.lower() in IMAGE_SUFFIXES)
    if not names:
        raise BuildError(f"{folder}: no picture in it; looked for {' '.join(sorted(IMAGE_SUFFIXES))}")
    for number, name in enumerate(names):
        try:
            image = next(iter(read_frames(folder / name, "image", ReadConfig())))[1]
        except MediumError as error:
            raise BuildError(f"{error}; take it out of the folder") from error
        yield image, number / FOLDER_RATE


def _decoded(
    url: str, format: str | None = None, options: dict[str, str] | None = None, name: str | None = None
) -> Iterator[tuple[Frame, float]]:
    """Frames and their times from the first on; `name` is what the user calls it."""
    import av

    name = name or redacted(url)
    first: float | None = None
    count = 0
    try:
        with av.open(
            url, format=format, options=options or {}, timeout=None if os.path.exists(url) else _TIMEOUT
        ) as opened:
            if not opened.streams.video:
                raise BuildError(f"{name}: no video stream in it")
            stream = opened.streams.video[0]
            stream.thread_type = "SLICE"  # frame threads would hold back as many frames as there are threads
            rate = float(stream.average_rate or CAMERA_RATE)
            for frame in opened.decode(stream):
                seconds = count / rate if frame.time is None else frame.time
                first = seconds if first is None else first
                yield upright(frame), seconds - first
                count += 1
    except (av.FFmpegError, OSError) as error:
        after = f" after {count} frames" if count else ""
        raise BuildError(
            f"{name}: the video breaks off{after} ({redacted(str(error))})"
            if count
            else f"{name}: cannot be opened as a video ({redacted(str(error))})"
        ) from error
    if not count:
        raise BuildError(f"{name}: no frame in it could be decoded")


def _device(source: str) -> tuple[str, str, dict[str, str], str]:
    """What `_decoded` is given for a webcam: Linux numbers them, macOS too, Windows knows names."""
    import av

    platform = next((p for p in _DEVICES if sys.platform.startswith(p)), None)
    if platform is None:
        raise BuildError(f"{source}: webcams can be opened on Linux, macOS and Windows; give a file or a URL")
    kind = _DEVICES[platform]
    options = {"video_size": "{}x{}".format(*CAMERA_SIZE), "framerate": str(CAMERA_RATE)}
    wanted = source
    if platform == "linux":
        wanted = f"/dev/video{source}" if source.isdecimal() else source
        if not Path(wanted).exists():
            there = ", ".join(str(p) for p in sorted(Path("/dev").glob("video*"))) or "none"
            raise BuildError(
                f"{source}: no such webcam, file, folder or URL; webcams here: {there}. Give 0, clip.mp4, pictures/ or "
                "rtsp://host/stream"
            )
    elif platform == "win32":
        found: list[Any] = [d for d in av.enumerate_input_devices(kind) if "video" in str(d.media_types)]
        if source.isdecimal():
            if int(source) >= len(found):
                names = ", ".join(d.description for d in found) or "none"
                raise BuildError(f"{source}: no such webcam; there are: {names}")
            wanted = found[int(source)].description
        wanted = f"video={wanted}"
    return wanted, kind, options, f"webcam {source}"
