"""Frames of a video by PyAV: decoded as a stream, with a jump over what nobody asked for where that is faster.

Frames are numbered in display order, from 0, and by number alone: a variable frame rate changes nothing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tasks.errors import MediumError
from tasks.frames import ReadConfig, wanted_frames

if TYPE_CHECKING:
    import av

Frame = npt.NDArray[np.uint8]  # (H, W, 3) RGB

# A jump flushes the decoder, which then refills. Measured (benchmarks/video.py, one thread): it costs what decoding
# 7-9 frames of H.264 costs, 2 of MPEG-4, 0.1 of MJPEG; so fewer than these are decoded, not jumped. Taking 8 frames of
# 450 then costs 0.88 of decoding them all with key frames 250 apart, 0.39 with 30, 0.21 with 12, 0.07 of MJPEG.
JUMP = 8


class _LostCountError(Exception):
    """After a jump, the frame that came is not the one that the index promised."""


@dataclass(frozen=True)
class _Index:
    """What the packets say, none of them decoded. broken: what the header announces and the file lacks.

    pts: (n,) times of the frames in display order, and keys: (k,) numbers of those that can be jumped to; both empty
    where the times do not number the frames.
    """

    count: int
    broken: str
    pts: npt.NDArray[np.int64]
    keys: npt.NDArray[np.int64]

    def key_before(self, frame: int) -> int:
        """The last frame up to `frame` that can be jumped to, 0 if there is none."""
        place = int(np.searchsorted(self.keys, frame, side="right"))
        return int(self.keys[place - 1]) if place else 0

    def number(self, pts: int | None) -> int:
        """The frame of that time."""
        place = -1 if pts is None else int(np.searchsorted(self.pts, pts))
        if not 0 <= place < len(self.pts) or self.pts[place] != pts:
            raise _LostCountError
        return place


def read_video(path: str | os.PathLike[str], config: ReadConfig) -> Iterator[tuple[int, Frame]]:
    """Yield (frame number, image (H, W, 3) uint8 RGB, upright) of the frames that `config` asks for, in order.

    One frame is held at a time. Raises MediumError for a file without usable frames, and after the last good frame of a
    video that breaks off.
    """
    import av

    index = _index(path, config)
    wanted = wanted_frames(path, index.count, config)
    given, broken = 0, index.broken
    try:
        while True:
            try:
                for number, frame in _frames(path, index, wanted[given:]):
                    config.check_pixels(path, frame.width, frame.height)
                    yield number, upright(frame)
                    given += 1
                break
            except _LostCountError:  # an index that lies: count from the start instead
                index = replace(index, pts=index.pts[:0], keys=index.keys[:0])
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


def _index(path: str | os.PathLike[str], config: ReadConfig) -> _Index:
    """Headers may lie or say nothing, so the packets are counted: 5 to 16 us each, and none is decoded."""
    import av

    times: list[int] = []
    keys: list[int] = []
    count, end, plain, broken = 0, 0.0, True, ""
    try:
        with av.open(os.fspath(path)) as container:
            if not container.streams.video:
                raise MediumError("no-frames", f"{path}: no video stream in it")
            stream = container.streams.video[0]
            if stream.codec_context is None:  # the index names no codec that can be decoded
                raise MediumError(
                    "no-frames", f"{path}: its video cannot be decoded by this FFmpeg, or its index is cut off"
                )
            config.check_pixels(path, stream.codec_context.width, stream.codec_context.height)
            duration = (container.duration or 0) / av.time_base
            try:
                for packet in container.demux(stream):
                    if packet.pts is not None:
                        end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                    if packet.size == 0:
                        continue
                    count += 1
                    if packet.pts is None or packet.is_discard or packet.is_corrupt:
                        plain = False
                        continue
                    times.append(packet.pts)
                    if packet.is_keyframe:
                        keys.append(packet.pts)
            except av.FFmpegError as error:
                broken = str(error)
            # an AVI counts places for frames: where a camera dropped some they are empty, all but the last
            places = round(max(times, default=0) * (stream.time_base or 0) * (stream.average_rate or 0)) + 1
            if max(count, places) < stream.frames:
                broken = f"the header announces {stream.frames} frames, the file holds {count}"
            elif end < 0.9 * duration - 0.2:  # sound may go on a little longer than the pictures
                broken = f"the header announces {duration:.1f} s, the pictures end at {end:.1f} s"
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, MediumError):
            raise
        raise MediumError("not-an-image", f"{path}: not a video, or cut off before its index ({error})") from error
    pts = np.unique(np.array(times, np.int64))
    if broken or not plain or len(pts) < len(times):  # such a file is read from its start, as far as it goes
        return _Index(count, broken, pts[:0], pts[:0])
    return _Index(count, broken, pts, np.searchsorted(pts, np.sort(np.array(keys, np.int64))))


def _frames(path: str | os.PathLike[str], index: _Index, wanted: Sequence[int]) -> Iterator[tuple[int, av.VideoFrame]]:
    """The `wanted` frames, with a jump to the key frame before one that is far ahead."""
    import av

    with av.open(os.fspath(path)) as container:
        frames = _decode(container)
        last = -1
        for number in wanted:
            key = index.key_before(number)
            if key - last > JUMP:
                container.seek(int(index.pts[key]), stream=container.streams.video[0])
                frames = _decode(container)
            for frame in frames:
                last = index.number(frame.pts) if len(index.pts) else last + 1
                if last >= number:
                    break
            else:
                return
            if last > number:
                raise _LostCountError
            yield number, frame


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


def upright(frame: av.VideoFrame) -> Frame:
    """RGB pixels, turned as the file's display matrix asks a player to (quarter turns)."""
    image = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))
