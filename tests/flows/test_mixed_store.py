"""Five datasets of different kinds, with their quirks, in one store: scanned, detected, aligned, committed."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from flows.build_depth import build_depth
from flows.cluster import DaskConfig
from flows.source import Source
from storage.snapshot import open_snapshot
from storage.verify import verify
from tasks.config import BuildConfig
from tasks.upright import turned
from tests.fixtures import datasets
from tests.fixtures.photos import ASTRONAUT, GRACE_HOPPER, photo
from tests.fixtures.trees import celeba_spoof, video

CONFIG = BuildConfig.model_validate({"read": {"n": 2}, "depth": {"source": "real"}})
FACES = (photo(ASTRONAUT)[:400, 60:400], photo(GRACE_HOPPER)[60:460, 80:420])  # (400, 340, 3)


def clip(path: Path) -> None:
    """Three frames of one of the two; the video that MSU-MFSD is known to have upside-down is."""
    face = FACES[sum(path.name.encode()) % 2]
    if "client003_android" in path.name:
        face = turned(face, 180)
    video(path, [face] * 3)


@pytest.mark.slow
def test_five_datasets_become_one_verified_store_that_accounts_for_every_medium(
    tmp_path: Path, prefect_server: None
) -> None:
    roots = {
        "celeba-spoof": celeba_spoof(tmp_path / "celeba", lambda seed: FACES[seed % 2]),
        "oulu-npu": datasets.oulu_npu(tmp_path / "oulu", clip),
        "replay-attack": datasets.replay_attack(tmp_path / "replay", clip),
        "msu-mfsd": datasets.msu_mfsd(tmp_path / "msu", clip),
        "3dmad": datasets.mad3d(tmp_path / "3dmad", lambda path: datasets.kinect(path, FACES[0])),
    }
    sources = [Source(name=name, root=str(root)) for name, root in roots.items()]
    store = str(tmp_path / "store")
    summary = build_depth(sources, store, CONFIG, DaskConfig(workers=1))
    assert (summary.committed, summary.media) == (True, 9 + 7 + 6 + 5 + 4)
    assert verify(store).problems == []

    snapshot = open_snapshot(store)
    rows = snapshot.columns(["dataset", "path", "frame", "split", "subject", "label", "attack", "extra"]).to_pylist()
    rejects = snapshot.rejects().to_pylist()
    rejected = {(row["dataset"], row["path"]) for row in rejects}
    media = {(row["dataset"], row["path"]) for row in rows}
    assert len(media | rejected) == summary.media, "each medium is in the store or among the rejects"
    assert rejected == {  # their side files put the face where nobody is
        ("celeba-spoof", "Data/test/5000/live/500000.png"),
        ("oulu-npu", "Train_files/1_1_01_1.avi"),
    }
    assert {row["reason"] for row in rejects} == {"no-face"}

    frames = Counter(row["dataset"] for row in rows)
    assert frames["celeba-spoof"] == 8
    assert frames["oulu-npu"] == 2 * 6
    assert frames["replay-attack"] == 2 * 6
    assert frames["msu-mfsd"] == 2 * 5
    assert frames["3dmad"] == 2 * 4
    assert {row["attack"] for row in rows} >= {"", "print", "replay", "papercut", "mask3d"}
    assert all(row["subject"].startswith(row["dataset"] + "/") for row in rows)
    assert all((row["label"] == 0) == (row["attack"] == "") for row in rows)
    assert {row["split"] for row in rows if row["dataset"] == "oulu-npu"} == {"train", "dev", "test"}

    extras = {row["path"]: json.loads(row["extra"]) for row in rows}
    assert extras["scene01/real/real_client003_android_SD_scene01.mp4"]["turned"] == 180
    assert extras["Data/train/4980/spoof/000003.jpg"]["lists"] == ["protocol1/train"]
    real = {path for path, extra in extras.items() if extra.get("depth_real")}
    assert real == {"session01/Data/04_01_05.hdf5", "session02/Data/08_02_01.hdf5"}
    assert np.unique([row["frame"] for row in rows if row["dataset"] == "3dmad"]).tolist() == [0, 1]

    again = build_depth(sources, store, CONFIG, DaskConfig(workers=1))
    assert (again.committed, again.unchanged) == (False, summary.media)
