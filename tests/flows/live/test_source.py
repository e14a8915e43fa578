"""Frames come from files, folders and the network; what is not fetched in time is dropped, never queued."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from flows.live.source import Newest, Shot, shots
from tasks.errors import BuildError
from tests.fixtures.photos import ASTRONAUT
from tests.fixtures.rtsp_camera import rtsp_camera


def counted(count: int, made: threading.Event | None = None) -> Iterator[Shot]:
    for number in range(count):
        yield Shot(np.zeros((2, 2, 3), np.uint8), number, number / 30, time.perf_counter())
    if made:
        made.set()


def test_only_the_newest_frame_is_handed_out_and_the_rest_are_counted():
    made = threading.Event()

    def slow() -> Iterator[Shot]:
        yield from counted(50, made)

    with Newest(slow()) as newest:
        assert made.wait(10)
        seen = [shot.number for shot in newest]
    assert seen == [49]
    assert newest.dropped == 49


def test_a_fast_consumer_sees_all_of_a_slow_camera():
    go = threading.Semaphore(1)

    def camera() -> Iterator[Shot]:
        for shot in counted(5):
            go.acquire()
            yield shot

    seen = []
    with Newest(camera()) as newest:
        for shot in newest:
            seen.append(shot.number)
            go.release()
    assert seen == list(range(5))
    assert newest.dropped == 0


def test_an_error_of_the_camera_reaches_whoever_watches():
    def broken() -> Iterator[Shot]:
        raise BuildError("unplugged")
        yield

    with Newest(broken()) as newest, pytest.raises(BuildError, match="unplugged"):
        list(newest)


def test_a_file_is_played_when_its_frames_are_due(film):
    start = time.perf_counter()
    played = [shot for shot, _ in zip(shots(str(film[0])), range(5), strict=False)]
    assert time.perf_counter() - start >= 0.4
    gaps = np.diff([shot.taken for shot in played])
    assert gaps == pytest.approx(0.1, abs=1e-6)  # due times, not those of this machine
    assert [shot.seconds for shot in played] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_a_folder_is_a_film_of_its_pictures_in_order(tmp_path):
    for name, value in (("b.png", 20), ("a.jpg", 10), ("c.PNG", 30)):
        Image.new("RGB", (32, 24), (value,) * 3).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    found = list(shots(str(tmp_path), paced=False))
    assert [int(shot.image[0, 0, 0]) for shot in found] == [10, 20, 30]
    assert [shot.number for shot in found] == [0, 1, 2]


SEND = """
import sys, av
with av.open(sys.argv[1], "w", format="mpegts") as out, av.open(sys.argv[2]) as video:
    stream = out.add_stream_from_template(video.streams.video[0])
    for packet in video.demux(video.streams.video[0]):
        if packet.dts is not None:
            packet.stream = stream
            out.mux(packet)
"""


def test_a_stream_from_the_network(film):
    """MPEG-TS over TCP on the loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    # a process, since PyAV waits for the connection with the interpreter's lock held
    sender = subprocess.Popen([sys.executable, "-c", SEND, f"{url}?listen=1&listen_timeout=30000", str(film[0])])
    try:
        found = []
        while not found and sender.poll() is None:  # until it listens
            with suppress(BuildError):
                found = list(shots(url))
        assert sender.wait(30) == 0
    finally:
        sender.kill()
    assert len(found) == len(film[1])
    assert found[0].image.shape == (480, 640, 3)
    assert np.diff([shot.seconds for shot in found]) == pytest.approx(0.1, abs=0.01)


def test_an_rtsp_camera(film):
    """From its first key frame on, frame by frame; frames come when the camera sends them, not later and later."""
    with rtsp_camera(film[0]) as url:
        found = list(shots(url))
    known = [shot.image for shot in shots(str(film[0]), paced=False)]
    assert len(found) == len(known) == len(film[1])
    for shot, image in zip(found, known, strict=True):
        assert np.abs(shot.image.astype(int) - image).mean() < 3  # encoded once more
    assert np.diff([shot.seconds for shot in found]) == pytest.approx(0.1, abs=1e-3)
    late = [shot.taken - shot.seconds for shot in found]
    assert late[-1] - min(late) < 2  # what was read while the stream was opened has been caught up with


def test_what_is_no_source_is_said(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "bad.png").write_bytes(b"no picture")
    for source, said in (
        (str(tmp_path / "gone.mp4"), "no such webcam, file, folder or URL"),
        ("99", r"99: no such webcam.*webcams here"),
        (str(tmp_path / "empty"), "no picture in it"),
        (str(tmp_path / "bad.mp4"), r"bad\.mp4: cannot be opened as a video"),
        (str(tmp_path / "pictures"), r"bad\.png.*take it out of the folder"),
        ("gopher://x/y", "no stream of a camera; expected one of http"),
        ("rtsp://me:secret@127.0.0.1:1/x", r"rtsp://\*\*\*@127\.0\.0\.1:1/x: cannot be opened"),
    ):
        with pytest.raises(BuildError, match=said) as caught:
            list(shots(source))
        assert "secret" not in str(caught.value)


def test_a_picture_alone_is_a_film_of_one_frame():
    (only,) = shots(str(ASTRONAUT), paced=False)
    assert only.image.shape == (512, 512, 3)
