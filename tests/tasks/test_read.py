"""Reading: every kind of pixel comes out as upright 8-bit RGB, every kind of bad file as one error with a reason."""

import errno
import os
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageFile

from tasks.errors import MediumError
from tasks.read import ReadConfig, read_frames
from tests.fixtures.trees import frame_number, numbered_frames, picture, save, video

CONFIG = ReadConfig()


def read(path: Path, config: ReadConfig = CONFIG) -> np.ndarray:
    [(number, image)] = read_frames(path, "image", config)
    assert number == 0
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    return image


def reason(path: Path, kind: str = "image", config: ReadConfig = CONFIG) -> str:
    with pytest.raises(MediumError) as caught:
        list(read_frames(path, kind, config))
    assert path.name in caught.value.detail
    assert "\n" not in caught.value.detail
    return caught.value.reason


def frames_until_error(path: Path, config: ReadConfig) -> tuple[list[tuple[int, int]], MediumError | None]:
    got = []
    try:
        for number, image in read_frames(path, "video", config):
            got.append((number, frame_number(image)))
    except MediumError as error:
        return got, error
    return got, None


class TestPictures:
    def test_lossless_rgb_comes_back_as_it_is(self, tmp_path: Path) -> None:
        assert np.array_equal(read(save(tmp_path / "a.png", picture(1))), picture(1))

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("ending", ["png", "tif", "jpg", "webp"])
    def test_all_eight_exif_orientations_come_out_upright(self, tmp_path: Path, orientation: int, ending: str) -> None:
        upright = picture(2, 48, 32)
        # what a camera stores so that a viewer who follows the tag sees `upright`
        stored = {
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: upright.transpose(1, 0, 2),
            6: np.rot90(upright, 1),
            7: np.rot90(upright.transpose(1, 0, 2), 2),
            8: np.rot90(upright, -1),
        }[orientation]
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"a.{ending}"
        options = {"lossless": True} if ending == "webp" else {"quality": 98} if ending == "jpg" else {}
        Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, **options)
        got = read(path)
        assert got.shape == upright.shape
        assert np.abs(got.astype(int) - upright).max() <= (40 if ending == "jpg" else 0)

    def test_a_broken_exif_block_does_not_cost_the_picture(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jpg"
        Image.fromarray(picture(1)).save(path, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
        assert read(path).shape == (40, 48, 3)

    @pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr", "LA", "RGBA"])
    def test_other_modes_show_the_same_picture(self, tmp_path: Path, mode: str) -> None:
        original = Image.fromarray(picture(3))
        path = tmp_path / ("a.tif" if mode in ("CMYK", "YCbCr") else "a.png")
        original.convert(mode).save(path)
        expected = np.asarray(original.convert(mode).convert("RGB"))
        assert np.abs(read(path).astype(int) - expected).max() <= 1

    def test_a_cmyk_jpeg_is_not_a_negative(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jpg"
        Image.fromarray(picture(3)).convert("CMYK").save(path, quality=98)
        assert np.abs(read(path).astype(int) - picture(3)).mean() < 6

    @pytest.mark.parametrize("ending", ["png", "tif"])
    def test_sixteen_bits_are_scaled_not_cut(self, tmp_path: Path, ending: str) -> None:
        ramp = np.linspace(0, 65_535, 64 * 64).reshape(64, 64).astype(np.uint16)
        path = tmp_path / f"a.{ending}"
        Image.fromarray(ramp).save(path)
        assert np.array_equal(read(path)[..., 1], np.round(ramp / 257).astype(np.uint8))

    @pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "RGB"])
    def test_transparent_pixels_become_neutral_grey(self, tmp_path: Path, mode: str) -> None:
        rgba = np.full((16, 16, 4), 255, np.uint8)
        rgba[:, :8] = (0, 0, 0, 0)  # left half: transparent
        image = Image.fromarray(rgba)
        path = tmp_path / "a.png"
        if mode == "P":
            indices = Image.fromarray((rgba[..., 0] > 0).astype(np.uint8)).convert("P")
            indices.putpalette([0, 0, 0, 255, 255, 255])
            indices.save(path, transparency=0)
        elif mode == "RGB":
            image.convert("RGB").save(path, transparency=(0, 0, 0))
        elif mode == "PA":
            path = tmp_path / "a.gif"
            image.save(path)
        else:
            image.convert(mode).save(path)
        got = read(path)
        assert (got[:, :8] == 128).all()
        assert (got[:, 8:] == 255).all()

    def test_the_first_picture_of_an_animation_is_taken(self, tmp_path: Path) -> None:
        path = tmp_path / "a.webp"
        frames = [Image.fromarray(picture(seed)) for seed in (1, 2)]
        frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
        assert np.abs(read(path).astype(int) - picture(1)).max() <= 1


class TestBadPictures:
    def test_missing_empty_and_not_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "empty.jpg").touch()
        (tmp_path / "folder.jpg").mkdir()
        (tmp_path / "file").touch()
        (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
        os.mkfifo(tmp_path / "pipe.jpg")
        assert reason(tmp_path / "none.jpg") == "missing"
        assert reason(tmp_path / "empty.jpg") == "empty-file"
        assert reason(tmp_path / "folder.jpg") == "unreadable"
        assert reason(tmp_path / "file" / "a.jpg") == "unreadable"  # a file where a folder should be
        assert reason(tmp_path / "loop.jpg") == "unreadable"
        assert reason(tmp_path / "pipe.jpg") == "unreadable"  # reading it would wait for ever

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_no_permission(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.jpg")
        path.chmod(0)
        assert reason(path) == "unreadable"

    @pytest.mark.parametrize(
        "content", [b"hello", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"<html></html>", b"\0" * 999]
    )
    def test_what_is_no_picture(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "a.jpg").write_bytes(content)
        assert reason(tmp_path / "a.jpg") == "not-an-image"

    @pytest.mark.parametrize("ending", ["jpg", "png", "bmp", "tif", "webp"])
    def test_a_file_that_was_cut_off(self, tmp_path: Path, ending: str) -> None:
        path = save(tmp_path / f"a.{ending}", np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8))
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        # TIFF keeps its index and WebP its length at the other end: without them the format is not recognised
        assert reason(path) in (("truncated",) if ending in ("jpg", "png", "bmp") else ("truncated", "not-an-image"))

    def test_random_damage_is_a_picture_or_a_reason_never_another_error(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(5)
        for ending in ("jpg", "png", "gif", "tif", "webp", "bmp"):
            good = save(tmp_path / f"good.{ending}").read_bytes()
            for _ in range(60):
                data = bytearray(good)
                for place in rng.integers(0, len(data), 6):
                    data[place] = rng.integers(256)
                path = tmp_path / f"bad.{ending}"
                path.write_bytes(data)
                try:
                    read(path, ReadConfig(max_pixels=1_000_000))
                except MediumError as error:
                    assert error.reason in ("truncated", "not-an-image", "too-large")  # noqa: PT017  # either is fine

    def test_too_many_pixels_are_refused_before_decoding(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.png", picture(0, 200, 100))
        assert read(path, ReadConfig(max_pixels=20_000)).shape == (100, 200, 3)
        assert reason(path, config=ReadConfig(max_pixels=19_999)) == "too-large"

    @pytest.mark.parametrize("side", [12_000, 40_000])  # above our limit, and above Pillow's own
    def test_a_bomb_costs_no_memory(self, tmp_path: Path, side: int) -> None:
        def chunk(name: bytes, data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

        header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        path = tmp_path / "bomb.png"
        path.write_bytes(
            b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 10**7)) + chunk(b"IEND", b"")
        )
        tracemalloc.start()
        assert reason(path) == "too-large"
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
        tracemalloc.stop()

    @pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), MemoryError()])
    def test_a_failure_of_the_machine_is_not_the_files(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        path = save(tmp_path / "a.png")

        def fails(*args: object) -> None:
            raise error

        monkeypatch.setattr(ImageFile.ImageFile, "load", fails)  # the disk and the memory of a test machine are fine
        assert reason(path) == "unreadable"

    def test_floating_point_pixels_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        Image.fromarray(np.zeros((8, 8), np.float32)).save(path)
        assert reason(path) == "not-an-image"


class TestVideos:
    # containers with a frame count in the header, with a duration only, and codecs that reorder frames
    KINDS = (("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.webm", "libvpx-vp9"))

    @pytest.mark.parametrize(("name", "codec"), KINDS)
    def test_n_frames_are_spread_evenly(self, tmp_path: Path, name: str, codec: str) -> None:
        path = video(tmp_path / name, numbered_frames(50), codec=codec)
        got, error = frames_until_error(path, ReadConfig(n=5))
        assert error is None
        assert got == [(5, 5), (15, 15), (25, 25), (35, 35), (45, 45)]

    @pytest.mark.parametrize(("name", "codec"), KINDS)
    def test_every_nth_frame(self, tmp_path: Path, name: str, codec: str) -> None:
        path = video(tmp_path / name, numbered_frames(23), codec=codec)
        got, error = frames_until_error(path, ReadConfig(frames="every", n=10))
        assert error is None
        assert got == [(0, 0), (10, 10), (20, 20)]

    def test_a_short_video_gives_all_its_frames_once(self, tmp_path: Path) -> None:
        path = video(tmp_path / "a.mp4", numbered_frames(3))
        assert frames_until_error(path, ReadConfig(n=8)) == ([(0, 0), (1, 1), (2, 2)], None)

    @pytest.mark.parametrize("rotation", [90, 180, -90])
    def test_a_phone_video_is_turned_upright(self, tmp_path: Path, rotation: int) -> None:
        upright = picture(4, 64, 96)  # taller than wide
        stored = np.ascontiguousarray(np.rot90(upright, -rotation // 90))
        path = video(tmp_path / "a.mp4", [stored] * 3, codec="libx264", rotation=rotation)
        [(_, got)] = read_frames(path, "video", ReadConfig(n=1))
        assert got.shape == upright.shape
        assert np.abs(got.astype(int) - upright).mean() < 8

    @pytest.mark.parametrize(("name", "codec"), KINDS)
    def test_a_video_that_was_cut_off_gives_its_frames_and_then_the_reason(
        self, tmp_path: Path, name: str, codec: str
    ) -> None:
        frames = [np.roll(picture(n, 160, 120), n, axis=1) for n in range(50)]
        options = {"movflags": "faststart"} if name.endswith("mp4") else {}  # the index in front, as on the web
        path = video(tmp_path / name, frames, codec=codec, **options)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * 45 // 100])
        got, error = frames_until_error(path, ReadConfig(frames="every", n=1))
        assert error is not None
        assert error.reason == "truncated"
        assert [number for number, _ in got] == list(range(len(got)))
        with av.open(str(path)) as container:
            packets = sum(packet.size > 0 for packet in container.demux(video=0))
        # all but the one that was cut, although the decoder holds several back to sort them
        assert packets - 1 <= len(got) <= packets < 45

    @pytest.mark.parametrize(
        ("content", "expected"),
        [(b"", "empty-file"), (b"no video", "not-an-image"), (b"\0\0\0\x18ftypmp42" + b"\0" * 400, "not-an-image")],
    )
    def test_what_is_no_video(self, tmp_path: Path, content: bytes, expected: str) -> None:
        (tmp_path / "a.mp4").write_bytes(content)
        assert reason(tmp_path / "a.mp4", "video") == expected

    def test_an_index_that_was_cut_off_leaves_nothing_to_read(self, tmp_path: Path) -> None:
        path = video(tmp_path / "a.mp4", numbered_frames(20))  # its index is the last thing in the file
        path.write_bytes(path.read_bytes()[:-500])
        assert reason(path, "video") == "no-frames"

    def test_sound_alone_has_no_frames(self, tmp_path: Path) -> None:
        path = tmp_path / "a.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=16_000, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 16_000
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
        assert reason(path, "video") == "no-frames"

    def test_random_damage_is_frames_or_a_reason_never_another_error(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(6)
        for name, codec in self.KINDS:
            good = video(tmp_path / f"good.{name}", [picture(n, 64, 48) for n in range(12)], codec=codec).read_bytes()
            for _ in range(25):
                data = bytearray(good)
                for place in rng.integers(0, len(data), 8):
                    data[place] = rng.integers(256)
                path = tmp_path / name
                path.write_bytes(data)
                for policy in ("spread", "every"):
                    frames_until_error(path, ReadConfig(frames=policy, n=4, max_pixels=1_000_000))

    def test_large_frames_are_refused_before_decoding(self, tmp_path: Path) -> None:
        path = video(tmp_path / "a.mp4", numbered_frames(2))
        assert reason(path, "video", ReadConfig(max_pixels=96 * 64 - 1)) == "too-large"

    def test_frames_are_streamed_not_collected(self, tmp_path: Path) -> None:
        path = video(tmp_path / "a.mp4", numbered_frames(55, 640, 480))  # 50 MB as RGB
        stream: Iterator = read_frames(path, "video", ReadConfig(frames="every", n=1))
        tracemalloc.start()
        assert sum(1 for _ in stream) == 55
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
        tracemalloc.stop()
