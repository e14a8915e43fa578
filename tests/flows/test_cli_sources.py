"""`scan` and `protocols`: what is there, said before anything is built or trained."""

import json
from pathlib import Path

import numpy as np
import pytest

from flows.cli import main
from storage.config import StoreConfig
from storage.schema import Sample
from storage.snapshot import Store
from storage.writer import shard_writer
from tests.fixtures.datasets import casia_fasd, oulu_npu, tiny
from tests.fixtures.samples import columns
from tests.fixtures.trees import celeba_spoof


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the command; returns (exit code, stdout, stderr)."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["pseudodepth", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *capsys.readouterr()

    return run


def test_scan_counts_by_split_attack_and_subject_and_says_what_is_left_out(call, tmp_path):
    code, out, _ = call("scan", f"oulu-npu={oulu_npu(tmp_path)}", "--json")
    (found,) = json.loads(out)
    assert code == 0
    assert (found["dataset"], found["media"], found["subjects"]) == ("oulu-npu", 7, 5)
    assert found["counts"][:2] == [
        {"split": "dev", "label": "live", "attack": "", "detail": "", "media": 1, "subjects": 1},
        {"split": "dev", "label": "spoof", "attack": "replay", "detail": "display2", "media": 1, "subjects": 1},
    ]
    assert sum(row["media"] for row in found["counts"]) == 7
    examples = {row["example"]: row["count"] for row in found["left_out"]}
    assert examples == {"Protocols": 1, "Test_files/7_3_36_1.avi": 1}
    assert found["official"]["train live"] == {"found": 1, "published": 360}


def test_scan_prints_the_layout_and_every_dataset_for_people(call, tmp_path):
    roots = oulu_npu(tmp_path / "o"), celeba_spoof(tmp_path / "c")
    code, out, _ = call("scan", f"oulu-npu={roots[0]}", f"celeba-spoof:mine={roots[1]}")
    assert code == 0
    assert "oulu-npu: 7 media below" in out
    assert "mine: " in out
    assert "layout: OULU-NPU" in out
    assert "left out, 1: not named like Train_files/1_1_01_1.avi; e.g. Test_files/7_3_36_1.avi" in out


def test_scan_refuses_counts_that_are_not_the_published_ones(call, tmp_path):
    root = casia_fasd(tmp_path / "few")
    code, _, err = call("scan", f"casia-fasd={root}", "--expect-official")
    assert code == 1
    assert "casia-fasd: train live: 2 found, 60 published (the paper" in err
    assert call("scan", f"casia-fasd={root}", "--expect-official", "--tolerance", 1)[0] == 0


def test_scan_accepts_the_published_counts_with_a_few_missing(call, tmp_path):
    clips = [*map(str, range(1, 9)), *(f"HR_{i}" for i in range(1, 5))]
    for split, people in (("train", 20), ("test", 30)):
        for person in range(1, people + 1):
            (tmp_path / f"{split}_release/{person}").mkdir(parents=True)
            for clip in clips:
                (tmp_path / f"{split}_release/{person}/{clip}.avi").touch()
    assert call("scan", f"casia-fasd={tmp_path}", "--expect-official", "--tolerance", 0)[0] == 0
    for person in (1, 2):
        (tmp_path / f"train_release/{person}/1.avi").unlink()  # 58 of 60: 3.3 % of them
    assert call("scan", f"casia-fasd={tmp_path}", "--expect-official")[0] == 1
    assert call("scan", f"casia-fasd={tmp_path}", "--expect-official", "--tolerance", 0.05)[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["oulu-npu"], "expected NAME=ROOT"),
        (["nothing=/x"], "nothing: not a known source; known are "),
        (["oulu-npu=/nowhere"], "/nowhere does not exist"),
    ],
)
def test_scan_of_nothing_is_one_line(call, words, message):
    code, _, err = call("scan", *words)
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1


def test_scan_cannot_expect_sizes_that_nobody_published(call, tmp_path):
    tiny(tmp_path / "train/live/a.mp4")
    tiny(tmp_path / "test/live/a.mp4")
    code, _, err = call("scan", f"folder={tmp_path}", "--expect-official")
    assert code == 2
    assert "folder: no sizes of it are published" in err


@pytest.fixture
def store(tmp_path) -> Path:
    """A store of CASIA-FASD: eight subjects, live and printed, in train and in test."""
    root, image = tmp_path / "store", np.zeros((8, 8, 3), np.uint8)
    with shard_writer(root, "one", StoreConfig(), {}) as writer:
        for split in ("train", "test"):
            for i in range(16):
                label = i % 2
                row = columns(2 * i, label=label, split=split, dataset="casia-fasd")
                row |= {"subject": f"casia-fasd/{split}_{i // 2}", "path": f"{split}/{i}.avi"}
                depth = None if label else np.full((8, 8), 9, np.uint8)
                writer.write([Sample(image, depth, row)])
    Store(root).commit([writer.info], parent=None, config={}, lineage={})
    return root


def test_protocols_says_which_a_store_serves_and_what_the_others_lack(call, store):
    code, out, _ = call("protocols", store, "--json")
    assert code == 0
    found = {entry["name"]: entry for entry in json.loads(out)}
    assert found["casia-fasd"]["missing"] == []
    assert found["casia-fasd"]["train"] == {"live": 6, "spoof": 6}
    assert found["casia-fasd"]["dev"] == {"live": 2, "spoof": 2}
    assert found["casia-fasd"]["test"] == {"live": 8, "spoof": 8}
    assert found["casia-replay.casia-to-replay"]["datasets"] == ["casia-fasd", "replay-attack"]
    assert found["casia-replay.casia-to-replay"]["missing"] == ["test: no samples of replay-attack"]
    _, out, _ = call("protocols", store)
    assert "casia-fasd" in out
    assert "not to be served here: casia-replay.casia-to-replay. test: no samples of replay-attack\n" in out
    assert "not to be served here: casia-replay.replay-to-casia. train: no samples of replay-attack\n" in out
    (elsewhere,) = (line for line in out.splitlines() if line.startswith("of datasets that are not in this store: "))
    assert "oulu-npu-1, " in elsewhere
    assert "oulu-npu-3 (6 folds), " in elsewhere
    assert out.count("oulu-npu-3") == 1


def test_protocols_lists_the_names_without_a_store_and_takes_a_file(call, tmp_path, store):
    code, out, _ = call("protocols")
    assert code == 0
    assert "oulu-npu-4.6: OULU-NPU protocol 4" in out
    code, out, _ = call("protocols", store, "--protocol", "casia-fasd", "--json")
    assert [entry["name"] for entry in json.loads(out)] == ["casia-fasd"]
    code, _, err = call("protocols", store, "--protocol", "casia")
    assert code == 2
    assert "no protocol 'casia'" in err
