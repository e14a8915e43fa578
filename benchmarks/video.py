"""What jumping in a video costs, when it pays, and what following a face saves.

python benchmarks/video.py

Times are CPU seconds of one thread, the least of several runs; the films are a portrait that is shaken and drifts, as
in a hand, encoded here.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

# before this folder, whose prnet.py would hide the package
sys.path.insert(0, str(Path(__file__).parents[1]))

import av
import numpy as np

from tasks.detect import DetectConfig, choose_face
from tasks.detectors import load_detector
from tasks.follow import follow, overlap
from tasks.frames import ReadConfig
from tasks.read import read_frames
from tests.fixtures.photos import ASTRONAUT, photo

FILMS = (  # codec, frames between key frames, ending, width, height, frames
    ("libx264", 250, "mp4", 640, 480, 450),
    ("libx264", 30, "mp4", 640, 480, 450),
    ("libx264", 12, "mp4", 640, 480, 450),
    ("libx264", 30, "mp4", 1920, 1080, 150),
    ("mpeg4", 12, "avi", 640, 480, 450),
    ("mjpeg", 1, "avi", 640, 480, 450),
)


def shaken(count: int, width: int, height: int, speed: float = 1.0) -> list[np.ndarray]:
    """A portrait in a hand: a slow drift, and a shake of a few pixels a frame at `speed` 1."""
    portrait = photo(ASTRONAUT)
    scale = -(-max(height + 120, width + 120) // len(portrait))
    ground = np.kron(portrait, np.ones((scale, scale, 1), np.uint8))
    frames = []
    for number in range(count):
        x = 60 + 40 * np.sin(speed * number / 11) + 8 * np.sin(speed * number / 2.3)
        y = 30 + 20 * np.sin(speed * number / 17) + 6 * np.sin(speed * number / 3.1)
        frames.append(np.ascontiguousarray(ground[int(y) : int(y) + height, int(x) : int(x) + width]))
    return frames


def encode(path: Path, frames: list[np.ndarray], codec: str, gop: int) -> None:
    with av.open(str(path), "w") as container:
        options = {"g": str(gop)} | ({"preset": "veryfast"} if codec == "libx264" else {})
        stream = container.add_stream(codec, rate=Fraction(30), options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuvj420p" if codec == "mjpeg" else "yuv420p", 4_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def seconds(run: Callable[..., object], *arguments: object, times: int = 3) -> float:
    taken = []
    for _ in range(times):
        started = time.process_time()
        run(*arguments)
        taken.append(time.process_time() - started)
    return min(taken)


def jumps(folder: Path) -> None:
    """Cost of a packet, a frame and a jump; and of 8 frames of the whole with and without jumps."""
    print("film                         packet us  frame ms  jump = frames  8 frames: stream ms  as read ms  ratio")
    for codec, gop, ending, width, height, count in FILMS:
        path = folder / f"{codec}-{gop}-{width}.{ending}"
        encode(path, shaken(count, width, height), codec, gop)
        keys = [pts for pts, key in packets(path) if key][:30]
        last = (15 * count) // 16 + 1
        one_packet = seconds(packets, path) / count
        one_frame = seconds(decode, path, count) / count
        jump = seconds(jump_to, path, keys) / len(keys) - one_frame
        stream = seconds(packets, path) + seconds(decode, path, last)
        read = seconds(lambda video: list(read_frames(video, "video", ReadConfig(n=8))), path)
        print(
            f"{path.name:28} {one_packet * 1e6:9.1f} {one_frame * 1e3:9.2f} {jump / one_frame:14.1f} "
            f"{stream * 1e3:20.1f} {read * 1e3:11.1f} {read / stream:6.2f}"
        )


def packets(path: Path) -> list[tuple[int | None, bool]]:
    with av.open(str(path)) as container:
        return [(packet.pts, packet.is_keyframe) for packet in container.demux(video=0) if packet.size]


def decode(path: Path, count: int) -> None:
    with av.open(str(path)) as container:
        for number, _ in enumerate(container.decode(video=0), 1):
            if number == count:
                break


def jump_to(path: Path, times: list[int]) -> None:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for pts in times:
            container.seek(pts, stream=stream)
            next(container.decode(stream))


def following() -> None:
    """Share of frames that the detector sees, time, and how far followed boxes are from detected ones."""
    config = DetectConfig()
    detector = load_detector(config)
    print("\nspeed  every  looked at  time (all looked at = 1)  overlap with the detected box: mean, worst")
    for speed in (0.5, 1.0, 2.0):
        frames = shaken(64, 640, 480, speed)
        started = time.process_time()
        truth = [found(detector, frame, config) for frame in frames]
        whole = time.process_time() - started
        for every in (2, 4, 8, 16):
            asked: list[int] = []

            def look(places, frames=frames, asked=asked):
                asked.extend(places)
                return [found(detector, frames[i], config) for i in places]

            started = time.process_time()
            between = follow([range(start, start + every) for start in range(0, 64, every)], look, config.min_overlap)
            taken = time.process_time() - started
            fits = [overlap(truth[a] + (i - a) / (b - a) * (truth[b] - truth[a]), truth[i]) for i, a, b in between]
            mean, worst = (np.mean(fits), min(fits)) if fits else (1, 1)
            print(f"{speed:5} {every:6} {len(asked) / 64:10.2f} {taken / whole:25.2f} {mean:40.3f}, {worst:.3f}")


def found(detector, frame, config):
    faces = detector([frame])[0]
    chosen = choose_face(faces, None, config)
    return None if chosen is None else faces.boxes[chosen]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        jumps(Path(folder))
    following()
