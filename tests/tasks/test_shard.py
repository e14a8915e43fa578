"""A shard end to end, on the two packaged photographs: samples, rejects, determinism, stopping."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from storage.reader import open_shard
from storage.shard_info import ShardInfo
from storage.snapshot import Store
from tasks.config import BuildConfig
from tasks.errors import Stopped
from tasks.plan import ShardPlan, plan_build
from tasks.shard import build_shard
from tasks.sources import scan
from tasks.warp import affine_scale, apply_affine, compose, invert_affine, warp
from tests.fixtures.photos import ASTRONAUT, GRACE_HOPPER, photo
from tests.fixtures.trees import picture, save, video

CONFIG = BuildConfig.model_validate({"view": {"views": 3}, "read": {"n": 3}})


def plans(root: Path, config: BuildConfig = CONFIG, source: str = "folder") -> list[ShardPlan]:
    return plan_build([scan(source, root)], None, config).shards


def build(root: Path, store: Path, config: BuildConfig = CONFIG, source: str = "folder") -> ShardInfo:
    [plan] = plans(root, config, source)
    return build_shard(plan, config, store)[0]


def rows(store: Path, info: ShardInfo) -> list[dict]:
    return open_shard(store / info.file).columns().to_pylist()


def rejects(store: Path, info: ShardInfo) -> dict[tuple[str, int], str]:
    snapshot = Store(store).commit([info], parent=None, config={}, lineage={})
    return {(row["path"], row["frame"]): row["reason"] for row in snapshot.rejects().to_pylist()}


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two live faces and two spoofs, of different sizes."""
    root = tmp_path_factory.mktemp("faces")
    save(root / "train/live/eileen/1.png", photo(ASTRONAUT))
    save(root / "train/live/grace/2.png", photo(GRACE_HOPPER))
    save(root / "train/spoof/print/eileen/3.png", photo(ASTRONAUT)[:, 40:])
    save(root / "train/spoof/replay/grace/4.jpg", photo(GRACE_HOPPER)[:500])
    return root


@pytest.fixture(scope="module")
def store(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    build(faces, folder)
    return folder


@pytest.fixture(scope="module")
def info(faces: Path, store: Path) -> ShardInfo:
    return build(faces, store)  # there already: verified and returned


class TestSamples:
    def test_every_frame_gives_its_views_and_the_columns_of_its_medium(self, store: Path, info: ShardInfo) -> None:
        got = rows(store, info)
        assert (info.rows, info.live, info.spoof, info.rejects) == (12, 6, 6, 0)
        assert [(row["path"], row["view"]) for row in got] == [
            (path, view)
            for path in (
                "train/live/eileen/1.png",
                "train/live/grace/2.png",
                "train/spoof/print/eileen/3.png",
                "train/spoof/replay/grace/4.jpg",
            )
            for view in range(3)
        ]
        first, last = got[0], got[-1]
        assert (first["subject"], first["label"], first["attack"]) == ("folder/eileen", 0, "")
        assert (last["subject"], last["label"], last["attack"]) == ("folder/grace", 1, "replay")
        assert first["confidence"] > 0.9
        assert np.isnan(last["confidence"])
        assert all(row["box_source"] == "retinaface" and row["score"] > 0.9 for row in got)
        assert info.meta["aligner"]["name"] == "facemesh"
        assert len(info.meta["detector"]["weights_sha256"]) == 64

    def test_the_crop_shows_the_face_and_its_depth_has_the_nose_in_front(self, store: Path, info: ShardInfo) -> None:
        images, depths = open_shard(store / info.file).read(np.arange(6))
        for row, image, depth in zip(rows(store, info)[:6], images, depths, strict=True):
            affine = np.reshape(row["crop"], (2, 3))
            nose = apply_affine(affine, np.reshape(row["points"], (5, 2)))[2]
            y, x = np.unravel_index(depth.argmax(), depth.shape)
            assert np.hypot(x - nose[0], y - nose[1]) < 30
            assert depth.max() >= 250
            assert 0.2 < (depth > 0).mean() < 0.8
            original = photo(ASTRONAUT if "eileen" in row["path"] else GRACE_HOPPER)
            assert np.array_equal(image, warp(original, affine, 224))

    def test_heights_shrink_with_the_face_where_depth_is_in_pixels_of_the_crop(
        self, faces: Path, tmp_path: Path
    ) -> None:
        heights = []
        for margin in (1.2, 2.4):
            depth = {"normalize": "metric-crop", "dtype": "uint16"}
            config = BuildConfig.model_validate({"view": {"margin": margin}, "depth": depth})
            info = build(faces, tmp_path / str(margin), config)
            heights.append(open_shard(tmp_path / str(margin) / info.file).read([0, 1])[1].max(axis=(1, 2)))
        assert heights[0] == pytest.approx(2 * heights[1], rel=0.02)

    def test_the_depth_of_a_view_is_the_plain_depth_moved_as_the_picture_is(self, store: Path, info: ShardInfo) -> None:
        got = rows(store, info)
        _, depths = open_shard(store / info.file).read(np.arange(6))
        for start in (0, 3):
            plain = np.reshape(got[start]["crop"], (2, 3))
            for view in (1, 2):
                step = compose(np.reshape(got[start + view]["crop"], (2, 3)), invert_affine(plain))
                assert not np.allclose(step, [[1, 0, 0], [0, 1, 0]])
                moved = warp(np.repeat(depths[start][..., None], 3, -1), step, 224)[..., 0].astype(int)
                both = (moved > 0) & (depths[start + view] > 0)
                assert both.sum() > 0.8 * (depths[start + view] > 0).sum() * min(1, affine_scale(step) ** 2)
                assert np.abs(moved - depths[start + view])[both].mean() < 2.5

    def test_a_spoof_has_no_depth(self, store: Path, info: ShardInfo) -> None:
        images, depths = open_shard(store / info.file).read(np.arange(6, 12))
        assert not depths.any()
        assert images.any()

    def test_a_video_gives_rows_of_its_frames(self, tmp_path: Path) -> None:
        face = photo(ASTRONAUT)[:400, :400]
        video(tmp_path / "train/live/e/clip.mp4", [np.roll(face, n, 1) for n in range(9)], codec="libx264")
        got = rows(tmp_path / "s", build(tmp_path, tmp_path / "s"))
        assert [(row["frame"], row["view"]) for row in got] == [(f, v) for f in (1, 4, 7) for v in range(3)]

    def test_parquet_holds_the_same_rows(self, faces: Path, store: Path, info: ShardInfo, tmp_path: Path) -> None:
        config = CONFIG.model_copy(update={"store": CONFIG.store.model_copy(update={"format": "parquet"})})
        other = build(faces, tmp_path, config)
        assert str(rows(tmp_path, other)) == str(rows(store, info))  # as text: NaN equals NaN


class TestSpoofMasks:
    CONFIG = BuildConfig.model_validate({"view": {"views": 2}, "depth": {"spoof_mask": True}})

    @pytest.mark.parametrize("store_format", ["hdf5", "parquet"])
    def test_a_spoof_has_a_mask_over_its_face_and_still_no_depth(
        self, faces: Path, tmp_path: Path, store_format: str
    ) -> None:
        config = BuildConfig.model_validate({**self.CONFIG.model_dump(), "store": {"format": store_format}})
        made = build(faces, tmp_path, config)
        reader, got = open_shard(tmp_path / made.file), rows(tmp_path, made)
        spoofs = [i for i, row in enumerate(got) if row["label"] == 1]
        assert not reader.read(spoofs)[1].any()
        for i, mask in zip(spoofs, reader.read_masks(spoofs), strict=True):
            x, y = apply_affine(np.reshape(got[i]["crop"], (2, 3)), np.reshape(got[i]["points"], (5, 2))).astype(int).T
            assert mask[y, x].all()  # eyes, nose and mouth of this view
            assert 0.2 < mask.mean() < 0.8
            assert got[i]["quality"] > 0.5
        live = [i for i, row in enumerate(got) if row["label"] == 0]
        assert np.array_equal(reader.read_masks(live), reader.read(live)[1] > 0)
        reader.check()

    def test_live_samples_are_the_same_and_no_mask_is_stored_unless_asked_for(
        self, faces: Path, store: Path, info: ShardInfo, tmp_path: Path
    ) -> None:
        made = build(faces, tmp_path, CONFIG.model_copy(update={"depth": self.CONFIG.depth}))
        one, other = open_shard(store / info.file), open_shard(tmp_path / made.file)
        assert np.array_equal(one.read(np.arange(6))[1], other.read(np.arange(6))[1])
        assert not one.read_masks(np.arange(6, 12)).any()
        assert not one.index.mask.stored.any()
        assert 0 < other.index.mask.nbytes.max() < 1000

    def test_how_depth_was_made_is_written_beside_the_maps(self, info: ShardInfo) -> None:
        assert info.meta["depth"] == CONFIG.depth.model_dump()


class TestBoxes:
    @pytest.fixture
    def pair(self, tmp_path: Path) -> Path:
        """CelebA-Spoof with a picture of two faces, the box on one of them, on the 224 grid."""
        both = np.concatenate([photo(ASTRONAUT)[:512], photo(GRACE_HOPPER)[:512]], axis=1)
        for name, box in (("1", "38 20 25 45 0.9"), ("2", "150 15 25 60 0.9"), ("3", "2 190 30 30 0.9"), ("4", "")):
            path = save(tmp_path / f"Data/train/7/live/{name}.png", both)
            path.with_name(f"{name}_BB.txt").write_text(box)
        return tmp_path

    def test_of_many_faces_the_one_at_the_given_box_is_taken(self, pair: Path, tmp_path: Path) -> None:
        info = build(pair, tmp_path / "s", source="celeba-spoof")
        centres = {Path(row["path"]).stem: (row["box"][0] + row["box"][2]) / 2 for row in rows(tmp_path / "s", info)}
        assert centres["1"] < 512 < centres["2"]
        assert "4" in centres  # without a box: the largest
        assert rejects(tmp_path / "s", info) == {("Data/train/7/live/3.png", -1): "no-face"}  # a box where no face is

    def test_the_given_box_replaces_the_detector(self, pair: Path, tmp_path: Path) -> None:
        config = BuildConfig.model_validate({"detect": {"detector": "given"}, "quality": {"min_quality": 0}})
        info = build(pair, tmp_path / "s", config, "celeba-spoof")
        got = rows(tmp_path / "s", info)
        assert got[0]["box"] == pytest.approx(np.array([38, 20, 63, 65]) * np.tile([1024 / 224, 512 / 224], 2))
        assert {row["box_source"] for row in got} == {"given"}
        assert rejects(tmp_path / "s", info)["Data/train/7/live/4.png", -1] == "bad-box"

    def test_the_given_box_may_stand_in_where_no_face_is_found(self, tmp_path: Path) -> None:
        path = save(tmp_path / "Data/train/7/spoof/1.png", picture(1, 448, 448))
        path.with_name("1_BB.txt").write_text("50 50 100 100 0.9")
        without = build(tmp_path, tmp_path / "s", source="celeba-spoof")
        assert rejects(tmp_path / "s", without) == {("Data/train/7/spoof/1.png", -1): "no-face"}
        config = BuildConfig(fallback_to_given=True)
        [row] = rows(tmp_path / "t", build(tmp_path, tmp_path / "t", config, "celeba-spoof"))
        assert row["box"] == [100, 100, 300, 300]
        assert (row["box_source"], np.isnan(row["score"])) == ("given", True)

    @pytest.mark.parametrize(
        ("box", "reason"), [("300 10 50 50 1", "bad-box"), ("10 10 9 60 1", "too-small"), ("nan 1 2 3 1", "bad-box")]
    )
    def test_a_given_box_that_cannot_be_used_has_its_reason(self, tmp_path: Path, box: str, reason: str) -> None:
        path = save(tmp_path / "Data/train/7/live/1.png", photo(ASTRONAUT)[:224, :224])
        path.with_name("1_BB.txt").write_text(box)
        config = BuildConfig.model_validate({"detect": {"detector": "given"}})
        info = build(tmp_path, tmp_path / "s", config, "celeba-spoof")
        assert rejects(tmp_path / "s", info) == {("Data/train/7/live/1.png", -1): reason}


class TestRejects:
    @pytest.fixture
    def bad(self, tmp_path: Path) -> Path:
        """One good picture among bad ones of every kind."""
        root = tmp_path / "bad"
        live = root / "train/live/x"
        good = save(live / "good.png", photo(ASTRONAUT))
        (live / "truncated.png").write_bytes(good.read_bytes()[:90_000])
        (live / "empty.jpg").touch()
        (live / "text.jpg").write_text("not a picture")
        (live / "text.mp4").write_text("not a video")
        (live / "gone.jpg").symlink_to(root / "nowhere.jpg")
        os.mkfifo(live / "pipe.jpg")
        save(live / "huge.png", np.zeros((3000, 3000, 3), np.uint8))
        save(live / "nobody.png", picture(5, 300, 300))
        save(live / "far.png", np.pad(photo(ASTRONAUT), ((0, 0), (0, 512), (0, 0)))[::4, ::4])
        frames = [np.roll(photo(ASTRONAUT)[:400, :400], n, 1) for n in range(30)]
        clip = video(live / "clip.mp4", frames, codec="libx264", movflags="faststart")
        clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 6 // 10])
        blank = [np.zeros((400, 400, 3), np.uint8)] * 4
        video(root / "train/spoof/replay/x/mixed.mp4", [*frames[:4], *blank], codec="libx264")
        return root

    CONFIG = BuildConfig.model_validate({"read": {"max_pixels": 8_000_000, "n": 2}, "detect": {"min_size": 40}})

    def test_every_medium_ends_as_rows_or_as_a_reject_with_its_reason(self, bad: Path, tmp_path: Path) -> None:
        info = build(bad, tmp_path / "s", self.CONFIG)
        got = Counter(Path(row["path"]).name for row in rows(tmp_path / "s", info))
        why = {(Path(path).name, frame): reason for (path, frame), reason in rejects(tmp_path / "s", info).items()}
        assert got == {"good.png": 1, "clip.mp4": 2, "mixed.mp4": 1}
        clip = next(frame for name, frame in why if name == "clip.mp4")
        assert why == {
            ("truncated.png", -1): "truncated",
            ("empty.jpg", -1): "empty-file",
            ("text.jpg", -1): "not-an-image",
            ("text.mp4", -1): "not-an-image",
            ("gone.jpg", -1): "missing",
            ("pipe.jpg", -1): "unreadable",
            ("huge.png", -1): "too-large",
            ("nobody.png", -1): "no-face",
            ("far.png", -1): "too-small",
            ("clip.mp4", clip): "truncated",  # after two good frames
            ("mixed.mp4", 6): "no-face",  # that frame alone
        }
        assert clip > 0
        media = Store(tmp_path / "s").current().media()
        assert sorted(media["path"].to_pylist()) == scan("folder", bad).media["path"].to_pylist()

    def test_a_badly_aligned_face_is_rejected_with_its_parts_but_a_spoof_is_not_asked(
        self, faces: Path, tmp_path: Path
    ) -> None:
        root = tmp_path / "faces"
        shutil.copytree(faces, root)
        hidden = photo(ASTRONAUT).copy()
        hidden[112:] = 60  # from the eyes down
        save(root / "train/live/eileen/hidden.png", hidden)
        save(root / "train/spoof/print/eileen/hidden.png", hidden)
        lenient = {"detect": {"min_score": 0.1}}
        info = build(root, tmp_path / "s", BuildConfig.model_validate(lenient))
        assert (info.live, info.spoof, info.rejects) == (2, 3, 1)
        assert rejects(tmp_path / "s", info) == {("train/live/eileen/hidden.png", -1): "low-quality"}
        [row] = Store(tmp_path / "s").current().rejects().to_pylist()
        assert 0 <= row["quality"] < 0.5
        assert row["detail"].startswith(f"quality {row['quality']:.2f} (landmarks ")
        assert row["detail"].endswith("), below 0.5")
        everything = build(root, tmp_path / "t", BuildConfig.model_validate({**lenient, "quality": {"min_quality": 0}}))
        assert (everything.live, everything.rejects) == (3, 0)
        kept = {Path(r["path"]).name: r["quality"] for r in rows(tmp_path / "t", everything) if r["label"] == 0}
        assert kept["hidden.png"] == row["quality"]

    def test_the_parts_of_the_quality_are_columns_of_live_rows(self, store: Path, info: ShardInfo) -> None:
        parts = ("quality_landmarks", "quality_inside", "confidence", "quality_agreement")
        for row in rows(store, info):
            if row["label"] == 0:
                assert row["quality"] == min(row[name] for name in parts) > 0.8
            else:
                assert row["quality"] is None
                assert [row[name] for name in parts if name != "confidence"] == [None] * 3

    def test_where_the_dataset_lies_is_in_no_byte_of_a_shard(self, bad: Path, tmp_path: Path) -> None:
        first = build(bad, tmp_path / "s", self.CONFIG)
        moved = tmp_path / "elsewhere"
        bad.rename(moved)
        assert build(moved, tmp_path / "t", self.CONFIG) == first


class TestDeterminism:
    @pytest.mark.parametrize("batch", [1, 3])
    def test_the_bytes_do_not_depend_on_the_batch_size(
        self, faces: Path, info: ShardInfo, tmp_path: Path, batch: int
    ) -> None:
        again = build(faces, tmp_path, CONFIG.model_copy(update={"batch": batch}))
        assert again == info  # name, counts, checksums, meta

    def test_a_seed_changes_the_views_but_not_the_plain_crop(
        self, faces: Path, store: Path, info: ShardInfo, tmp_path: Path
    ) -> None:
        other = build(faces, tmp_path, CONFIG.model_copy(update={"seed": 1}))
        assert other.name != info.name
        for one, two in zip(rows(store, info), rows(tmp_path, other), strict=True):
            assert (one["crop"] == two["crop"]) == (one["view"] == 0)

    def test_a_complete_shard_is_returned_as_it_is_and_a_damaged_one_is_built_again(
        self, faces: Path, info: ShardInfo, store: Path, tmp_path: Path
    ) -> None:
        copy = tmp_path / "s"
        shutil.copytree(store, copy)
        [plan] = plans(faces)
        before = (copy / info.file).stat().st_mtime_ns
        assert build_shard(plan, CONFIG, copy) == (info, {})
        assert (copy / info.file).stat().st_mtime_ns == before
        with (copy / info.file).open("r+b") as file:
            file.seek(5000)
            file.write(b"damage")
        again, timings = build_shard(plan, CONFIG, copy)
        assert again == info
        assert timings["detect"] > 0
        assert open_shard(copy / info.file).columns().num_rows == 12


class TestStopping:
    def test_a_stop_leaves_nothing_and_the_next_run_makes_the_same_bytes(
        self, faces: Path, info: ShardInfo, tmp_path: Path
    ) -> None:
        config = CONFIG.model_copy(update={"batch": 1})
        [plan] = plans(faces, config)
        asked = iter([False, False, True])
        with pytest.raises(Stopped):
            build_shard(plan, config, tmp_path, should_stop=lambda: next(asked))
        assert files(tmp_path) == []
        assert build_shard(plan, config, tmp_path)[0] == info

    def test_an_error_in_the_middle_leaves_nothing(
        self, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object) -> None:
            raise MemoryError("no more")

        monkeypatch.setattr("tasks.shard.depth_map", broken)
        with pytest.raises(MemoryError):
            build(faces, tmp_path)
        assert files(tmp_path) == []

    def test_a_killed_build_is_continued_to_the_same_shards(self, faces: Path, tmp_path: Path) -> None:
        config = CONFIG.model_copy(update={"shard_samples": 3, "batch": 1})
        work = plans(faces, config)
        undisturbed = [build_shard(plan, config, tmp_path / "a")[0] for plan in work]
        program = (
            "import sys\nfrom tests.tasks.test_shard import *\n"
            "config = CONFIG.model_copy(update={'shard_samples': 3, 'batch': 1})\n"
            "for plan in plans(Path(sys.argv[1]), config): build_shard(plan, config, Path(sys.argv[2]))\n"
        )
        home = Path(__file__).parents[2]
        process = subprocess.Popen([sys.executable, "-c", program, str(faces), str(tmp_path / "b")], cwd=home)
        deadline = time.monotonic() + 120

        def finished() -> list[Path]:
            return list((tmp_path / "b" / "shards").glob("folder-*.json"))

        while not finished() and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert 0 < len(finished()) < len(work)
        continued = [build_shard(plan, config, tmp_path / "b") for plan in work]
        assert [info for info, _ in continued] == undisturbed
        assert continued[0][1] == {}  # the finished one was taken over
        assert files(tmp_path / "b") == files(tmp_path / "a")
