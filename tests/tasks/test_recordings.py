"""Recordings of colour and depth in HDF5: their datasets, their frames, and real depth in the store."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from storage.reader import open_shard
from tasks.config import BuildConfig
from tasks.depth import DepthConfig
from tasks.errors import BuildError, MediumError
from tasks.frames import ReadConfig
from tasks.plan import plan_build
from tasks.read import read_frames
from tasks.real_depth import real_depth_map
from tasks.recordings import read_recording
from tasks.shard import build_shard
from tasks.sources import scan
from tests.fixtures import datasets
from tests.fixtures.photos import ASTRONAUT, photo
from tests.fixtures.trees import picture
from tests.tasks.test_depth import dome
from tests.tasks.test_sources_videos import extras, rows

ALL = ReadConfig(frames="all")


def test_3dmad(tmp_path: Path) -> None:
    found = scan("3dmad", datasets.mad3d(tmp_path))
    assert rows(found) == {
        "session01/Data/04_01_05.hdf5": ("train", "04", 0, "", "", "01", "recording"),
        "session02/Data/08_02_01.hdf5": ("dev", "08", 0, "", "", "02", "recording"),
        "session03/Data/04_03_05.hdf5": ("train", "04", 1, "mask3d", "mask", "03", "recording"),
        "session03/Data/17_03_01.hdf5": ("test", "17", 1, "mask3d", "mask", "03", "recording"),
    }
    assert found.ignored == [("session01/Data/04_02_05.hdf5", "its name says session 02, its folder says 01")]


def test_wmca_is_split_by_its_list_and_a_subject_is_its_client(tmp_path: Path) -> None:
    found = scan("wmca", datasets.wmca(tmp_path))
    assert rows(found) == {
        "face-station/17.01.18/003_01_003_0_00.hdf5": ("train", "003", 0, "", "", "01", "recording"),
        "face-station/17.01.18/514_01_035_1_05.hdf5": ("dev", "514", 1, "partial", "glasses", "01", "recording"),
        "face-station/17.01.18/520_02_003_3_10.hdf5": (
            "test",
            "520",
            1,
            "replay",
            "electronic-photo",
            "02",
            "recording",
        ),
        "face-station/18.01.18/522_02_004_2_09.hdf5": ("train", "522", 1, "mask3d", "paper-mask", "02", "recording"),
    }
    assert extras(found)["face-station/17.01.18/520_02_003_3_10.hdf5"] == {"presenter": "003", "instrument": "3_10"}
    assert found.ignored == [
        ("18.01.18/599_02_004_2_09", "in grandtest.csv, but there is no such recording"),
        ("face-station/18.01.18/521_02_003_3_01.hdf5", "grandtest.csv says bonafide, its name says photo"),
        ("face-station/18.01.18/523_02_004_5_01.hdf5", "not in grandtest.csv"),
        ("grandtest.csv", "not a folder of media"),
    ]
    (tmp_path / "other.csv").write_text(",client_id,filepath,group,label\n")
    with pytest.raises(BuildError, match=r"grandtest.csv, other.csv all look like the list of a protocol; leave one"):
        scan("wmca", tmp_path)
    (tmp_path / "grandtest.csv").unlink()
    (tmp_path / "other.csv").unlink()
    found = scan("wmca", tmp_path)
    assert (set(found.media["split"].to_pylist()), found.layout) == ({"train"}, "WMCA, no csv of a protocol: all train")
    assert len(found.media) == 6


def test_frames_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    path = datasets.frame_groups(tmp_path / "a.hdf5")
    assert [(n, int(image.max())) for n, image in read_frames(path, "recording", ALL)] == [
        (0, 0),
        (1, 20),
        (2, 40),
        (3, 200),
    ]
    assert [n for n, _ in read_frames(path, "recording", ReadConfig(n=2))] == [1, 3]


def test_a_kinect_recording_gives_colour_distance_and_the_face_of_its_eyes(tmp_path: Path) -> None:
    first, second = read_recording(datasets.kinect(tmp_path / "a.hdf5"), ALL)
    assert np.array_equal(first.image, picture(3, 64, 48))
    assert (second.number, first.image.flags.c_contiguous) == (1, True)
    assert first.distance is not None
    assert first.given is not None
    assert (first.distance.shape, first.distance[24, 31]) == ((48, 64), 740)
    assert first.given[1][:2].ravel().tolist() == pytest.approx([25.6, 19.2, 38.4, 19.2])


def broken(path: Path, kind: str) -> None:
    with h5py.File(path, "w") as file:
        if kind == "grey":
            file["Color_Data"] = np.zeros((2, 1, 4, 4), np.uint8)
        elif kind == "mismatch":
            file["Color_Data"] = np.zeros((2, 3, 4, 4), np.uint8)
            file["Depth_Data"] = np.zeros((1, 1, 4, 4), np.uint16)
        elif kind == "empty":
            file["Color_Data"] = np.zeros((0, 3, 4, 4), np.uint8)
        elif kind == "large":
            file.create_dataset("Color_Data", (2, 3, 9000, 9000), np.uint8)
        elif kind == "other":
            file["stream"] = [1]
        elif kind == "external link":
            file["Color_Data"] = h5py.ExternalLink("/etc/secret.h5", "/x")
        elif kind == "external data":
            file.create_dataset("Color_Data", (2, 3, 4, 4), np.uint8, external=[("/etc/hostname", 0, 96)])
        else:
            layout = h5py.VirtualLayout((2, 3, 4, 4), np.uint8)
            layout[:] = h5py.VirtualSource("/etc/secret.h5", "x", (2, 3, 4, 4))
            file.create_virtual_dataset("Color_Data", layout)


@pytest.mark.parametrize(
    ("kind", "reason", "message"),
    [
        ("grey", "not-an-image", r"/Color_Data is uint8 \(2, 1, 4, 4\), expected 3 x uint8"),
        ("mismatch", "not-an-image", r"Depth_Data \(1, 1, 4, 4\) does not fit Color_Data \(2, 3, 4, 4\)"),
        ("empty", "no-frames", "it holds no frame"),
        ("large", "too-large", "9000 x 9000 pixels"),
        ("other", "not-an-image", r"neither Color_Data nor frames with `array`; it has \['stream'\]"),
        ("external link", "unreadable", "Color_Data is a link, which is not followed"),
        ("external data", "unreadable", "kept in another file, which is not followed"),
        ("virtual", "unreadable", "kept in another file, which is not followed"),
    ],
)
def test_a_recording_that_cannot_be_read_or_leads_elsewhere_is_rejected(
    tmp_path: Path, kind: str, reason: str, message: str
) -> None:
    broken(tmp_path / "a.hdf5", kind)
    with pytest.raises(MediumError, match=message) as caught:
        list(read_recording(tmp_path / "a.hdf5", ALL))
    assert caught.value.reason == reason


def test_a_damaged_and_a_missing_recording_are_told_apart(tmp_path: Path) -> None:
    path = datasets.kinect(tmp_path / "a.hdf5")
    path.write_bytes(path.read_bytes()[:-2000])
    for name, reason in (("a.hdf5", "not-an-image"), ("b.hdf5", "missing")):
        with pytest.raises(MediumError) as caught:
            list(read_frames(tmp_path / name, "recording", ALL))
        assert caught.value.reason == reason


class TestRealDepth:
    """A measured hill under a mesh of the same outline."""

    vertices, triangles = dome()  # 20..80 in both directions
    identity = np.array([[1.0, 0, 0], [0, 1.0, 0]])

    def distance(self) -> np.ndarray:
        ys, xs = np.mgrid[:101, :101]
        hill = 800 - 60 * np.exp(-((xs - 50) ** 2 + (ys - 50) ** 2) / 400)
        return np.where(np.maximum(abs(xs - 50), abs(ys - 50)) < 28, hill, 2500)  # the wall shows at the mesh's edge

    def depth(self, distance: np.ndarray, affine: np.ndarray = identity, size: int = 101) -> np.ndarray:
        return real_depth_map(distance, self.vertices, self.triangles, affine, size, DepthConfig())

    def test_near_is_bright_the_background_zero_and_the_wall_is_no_part_of_the_face(self) -> None:
        depth = self.depth(self.distance())
        assert depth.dtype == np.uint8
        assert (depth[50, 50], depth[77, 77]) == (255, 1)
        assert ((depth > 0) == (np.maximum(*np.abs(np.mgrid[:101, :101] - 50)) <= 30)).all()
        row = depth[50, 50:78].astype(int)
        assert (np.diff(row) <= 0).all()

    def test_what_was_not_measured_takes_its_nearest_neighbour(self) -> None:
        distance = self.distance()
        whole = self.depth(distance)
        distance.ravel()[::7] = 0
        assert np.abs(self.depth(distance).astype(int) - whole).max() <= 12
        assert (self.depth(distance) > 0).sum() == (whole > 0).sum()

    def test_a_crop_shows_the_same_values_as_the_whole(self) -> None:
        whole = self.depth(self.distance())
        moved = self.depth(self.distance(), np.array([[1.0, 0, -35], [0, 1.0, -12]]), 40)
        assert np.array_equal(moved, whole[12:52, 35:75])
        mirrored = self.depth(self.distance(), np.array([[-1.0, 0, 100], [0, 1.0, 0]]))
        assert np.array_equal(mirrored, whole[:, ::-1])

    def test_too_little_measured_and_a_flat_face_are_errors(self) -> None:
        with pytest.raises(MediumError, match=r"the depth camera measured 0% of the face"):
            self.depth(np.zeros((101, 101)))
        with pytest.raises(MediumError, match=r"the face is flat: 700 mm"):
            self.depth(np.full((101, 101), 700))

    def test_live_recordings_have_it_in_the_store_when_asked_for(self, tmp_path: Path) -> None:
        face = photo(ASTRONAUT)[:400, 60:400]
        datasets.kinect(tmp_path / "session01/Data/01_01_01.hdf5", face)
        datasets.kinect(tmp_path / "session03/Data/01_03_01.hdf5", face)
        found = {}
        for source in ("aligned", "real"):
            config = BuildConfig.model_validate({"depth": {"source": source}, "read": {"n": 1}})
            [plan] = plan_build([scan("3dmad", tmp_path)], None, config).shards
            info, _ = build_shard(plan, config, tmp_path / source)
            assert (info.live, info.spoof, info.rejects) == (1, 1, 0)
            shard = open_shard(tmp_path / source / info.file)
            found[source] = shard.read(np.arange(2))[1]
            told = [json.loads(row["extra"]).get("depth_real") for row in shard.columns().to_pylist()]
            assert told == ([True, None] if source == "real" else [None, None])
        aligned, real = found["aligned"], found["real"]
        assert not aligned[1].any()
        assert not real[1].any(), "a spoof's depth is zero, real or not"
        assert (real[0].max(), aligned[0].max()) == (255, 255)
        both = (real[0] > 0) & (aligned[0] > 0)
        assert both.sum() > 0.97 * (aligned[0] > 0).sum(), "the same pixels"
        assert (real[0] != aligned[0])[both].mean() > 0.9, "other values: the fixture's hill is not her face"
        with pytest.raises(BuildError, match=r"depth.source real is normalised by face-minmax, not by metric-crop"):
            BuildConfig.model_validate({"depth": {"source": "real", "normalize": "metric-crop"}}).resolved()
