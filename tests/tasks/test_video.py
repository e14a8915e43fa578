"""Frame policies, jumps and odd videos: the frames that come are the ones that were asked for, to the pixel."""

import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tasks.errors import MediumError
from tasks.frames import ReadConfig, guess_frames, wanted_frames
from tasks.read import read_frames
from tests.fixtures.trees import frame_number, numbered_frames, picture, video


def encode(path: Path, count: int, *, codec: str, gop: int, times: list[int] | None = None, **options: str) -> Path:
    """A video with a key frame each `gop` frames, all different; `times` are those of its frames, in 1/25 s."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25), options={"g": str(gop), **options})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(picture(number, 96, 64), format="rgb24")
            frame.pts, frame.time_base = (times[number] if times else number), Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def decoded(path: Path) -> list[np.ndarray]:
    """Every frame, by the plainest use of the library."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


class TestPolicies:
    def test_all_takes_every_frame(self, tmp_path: Path) -> None:
        path = video(tmp_path / "a.mp4", numbered_frames(20))
        assert [frame_number(image) for _, image in read_frames(path, "video", ReadConfig(frames="all"))] == list(
            range(20)
        )

    def test_clips_are_five_frames_three_apart_evenly_over_the_video(self, tmp_path: Path) -> None:
        path = video(tmp_path / "a.mp4", numbered_frames(60))
        config = ReadConfig(frames="clips", n=3)
        got = list(read_frames(path, "video", config))
        clips = [(3, 6, 9, 12, 15), (23, 26, 29, 32, 35), (43, 46, 49, 52, 55)]
        assert [number for number, _ in got] == [number for clip in clips for number in clip]
        assert all(frame_number(image) == number for number, image in got)
        assert guess_frames(config) == len(got)

    @pytest.mark.parametrize("count", [13, 14, 25, 26, 27, 38, 39, 40, 100])
    def test_clips_never_share_a_frame_and_are_as_many_as_fit(self, count: int) -> None:
        config = ReadConfig(frames="clips", n=3)
        numbers = np.array(wanted_frames("a.mov", count, config)).reshape(-1, 5)
        assert len(numbers) == min(3, count // 13)
        assert (np.diff(numbers, axis=1) == 3).all()
        assert (np.diff(numbers.ravel()) > 0).all()
        assert 0 <= numbers.min() <= numbers.max() < count

    def test_a_video_that_no_clip_fits_in_is_rejected_with_the_lengths(self, tmp_path: Path) -> None:
        path = video(tmp_path / "a.mp4", numbered_frames(12))
        with pytest.raises(MediumError, match="12 frames, and a clip spans 13") as caught:
            list(read_frames(path, "video", ReadConfig(frames="clips")))
        assert caught.value.reason == "too-short"

    def test_a_clip_whose_end_is_cut_off_gives_the_frames_it_has_and_the_reason(self, tmp_path: Path) -> None:
        frames = [picture(number, 160, 120) for number in range(50)]
        path = video(tmp_path / "a.avi", frames)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) * 6 // 10])
        stream = read_frames(path, "video", ReadConfig(frames="clips", n=2))
        assert np.diff([next(stream)[0] for _ in range(5)]).tolist() == [3, 3, 3, 3]
        with pytest.raises(MediumError, match="frames could be read, then: the header announces 50 frames") as caught:
            list(stream)
        assert caught.value.reason == "truncated"


class TestJumps:
    # with an index in the file; without one (a jump in a transport stream does not land where it should)
    KINDS = (
        ("a.mp4", "libx264", {}),
        ("a.mp4", "libx264", {"x264-params": "open-gop=1"}),
        ("a.mkv", "libx264", {}),
        ("a.mp4", "mpeg4", {"bf": "2"}),
        ("a.avi", "mjpeg", {}),
        ("a.webm", "libvpx-vp9", {}),
        ("a.ts", "libx264", {}),
    )

    @pytest.mark.parametrize(("name", "codec", "options"), KINDS)
    def test_what_is_jumped_to_is_what_decoding_gives(
        self, tmp_path: Path, name: str, codec: str, options: dict[str, str]
    ) -> None:
        path = encode(tmp_path / name, 120, codec=codec, gop=12, **options)
        expected = decoded(path)
        for config in (ReadConfig(n=4), ReadConfig(frames="clips", n=2), ReadConfig(frames="every", n=25)):
            got = list(read_frames(path, "video", config))
            assert len(got) == {"spread": 4, "clips": 10, "every": 5}[config.frames]
            for number, image in got:
                assert np.array_equal(image, expected[number])

    def test_what_nobody_asked_for_is_not_decoded(self, tmp_path: Path) -> None:
        path = encode(tmp_path / "a.avi", 100, codec="mjpeg", gop=1)
        expected = decoded(path)
        with av.open(str(path)) as container:
            packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
        data = bytearray(path.read_bytes())
        for pos, size in packets[40:60]:
            data[pos : pos + size] = bytes(size)
        path.write_bytes(data)
        with pytest.raises(MediumError, match="40 frames could be read"):
            list(read_frames(path, "video", ReadConfig(frames="all")))
        got = list(read_frames(path, "video", ReadConfig(n=2)))
        assert [number for number, _ in got] == [25, 75]
        assert all(np.array_equal(image, expected[number]) for number, image in got)

    @pytest.mark.parametrize(("name", "codec"), [("a.mkv", "libx264"), ("a.mp4", "libx264"), ("a.avi", "mpeg4")])
    def test_a_variable_frame_rate_changes_no_number(self, tmp_path: Path, name: str, codec: str) -> None:
        times = np.cumsum(np.random.default_rng(0).integers(1, 9, 60)).tolist()
        path = encode(tmp_path / name, 60, codec=codec, gop=10, times=times)
        expected = decoded(path)
        assert len(expected) == 60
        got = list(read_frames(path, "video", ReadConfig(n=3)))
        assert [number for number, _ in got] == [10, 30, 50]
        assert all(np.array_equal(image, expected[number]) for number, image in got)

    def test_one_frame_is_held_at_a_time(self, tmp_path: Path) -> None:
        path = video(tmp_path / "a.mp4", numbered_frames(55, 640, 480))  # 50 MB as RGB
        tracemalloc.start()
        assert sum(1 for _ in read_frames(path, "video", ReadConfig(frames="all"))) == 55
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
        tracemalloc.stop()
