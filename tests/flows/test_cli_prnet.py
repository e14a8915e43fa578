"""`pseudodepth prnet`: weights imported and judged as a user does it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from prnet import PRNet
from prnet.checkpoint import import_checkpoint
from simulation.packaged import packaged_photographs
from tests.fixtures.prnet_layout import random_network, write_slim_weights, write_uv_folder
from tests.flows.test_cli import call

GOLDEN = Path(__file__).parents[1] / "prnet" / "golden"


@pytest.fixture
def uv(tmp_path: Path) -> Path:
    return write_uv_folder(tmp_path / "uv")


def test_a_tensorflow_checkpoint_is_imported_and_gives_its_own_output(
    uv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "weights" / "prnet.safetensors"
    assert call(monkeypatch, "prnet", "import", GOLDEN / "checkpoint", "--uv", uv, "-o", out) == 0
    said = capsys.readouterr().out
    assert "245 tensors" in said
    assert "width 0.0625, size 64" in said
    assert "left out, no part of the network: " in said
    golden = np.load(GOLDEN / "golden.npz")
    positions = PRNet.load(out, "cpu").positions(golden["crops"]) / (1.1 * 64)
    assert np.abs(positions - golden["positions"]).max() < 5e-4


def test_a_state_dict_is_imported_by_a_name_map(
    uv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = random_network().tensors()
    names = {name: f"net/{number}" for number, name in enumerate(tensors)}
    torch.save({names[name]: value for name, value in tensors.items()}, tmp_path / "theirs.pth")
    (tmp_path / "names.json").write_text(json.dumps(names))
    out = tmp_path / "prnet.safetensors"
    words = ("prnet", "import", tmp_path / "theirs.pth", "--uv", uv, "-o", out)
    assert call(monkeypatch, *words) == 2, "without the map"
    assert "no tensor stem.conv.weight" in capsys.readouterr().err
    assert call(monkeypatch, *words, "--names", tmp_path / "names.json") == 0
    torch.save(tensors, tmp_path / "ours.pth")
    import_checkpoint(tmp_path / "ours.pth", uv, tmp_path / "direct.safetensors")
    crops = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    one, two = (PRNet.load(path, "cpu").positions(crops) for path in (out, tmp_path / "direct.safetensors"))
    assert np.array_equal(one, two)


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "not a readable JSON file"), ("[1]", "expected an object of tensor names"), (None, "No such file")],
)
def test_a_wrong_name_map_is_one_line(
    content: str | None,
    said: str,
    uv: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if content is not None:
        (tmp_path / "names.json").write_text(content)
    words = ("prnet", "import", GOLDEN / "checkpoint", "--uv", uv, "--names", tmp_path / "names.json")
    assert call(monkeypatch, *words, "-o", tmp_path / "out.safetensors") == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out.safetensors").exists()


def test_training_without_pictures_or_with_a_wrong_option_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for option, value in (("size", 100), ("width", 0.3), ("steps", 0)):
        assert call(monkeypatch, "prnet", "train", "-o", tmp_path / "run", f"--{option}", value) == 2
        assert option in capsys.readouterr().err
    assert call(monkeypatch, "prnet", "train", "nowhere", "-o", tmp_path / "run") == 2
    assert "expected NAME=ROOT" in capsys.readouterr().err


def test_the_weights_that_come_along_are_judged_by_ones_own_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = packaged_photographs()[0]
    (tmp_path / "photos").mkdir()
    shutil.copy(photo, tmp_path / "photos")
    (tmp_path / "photos/broken.jpg").write_bytes(b"no picture")
    words = ("prnet", "evaluate", "--photos", tmp_path / "photos", "--workers", 1)
    assert call(monkeypatch, *words, "--held-out", 1, "--heads", 8, "--json") == 0
    judged = json.loads(capsys.readouterr().out)
    assert [sum(judged["rejected"].values()), len(judged["rejected"])] == [1, 1]
    whole = {row["source"]: row for row in judged["figures"] if (row["yaw_from"], row["yaw_to"]) == (0, 90)}
    assert (whole["rendered"]["faces"], whole["teacher"]["faces"]) == (8, 1)
    assert max(row["dense_2d"] for row in (*whole.values(), judged["facemesh"][-1])) < 10
    assert call(monkeypatch, *words, "--held-out", 1, "--heads", 0) == 0
    said = capsys.readouterr().out
    assert "the teacher" in said
    assert "the truth" not in said
    assert "left out: 1 " in said
    assert call(monkeypatch, *words, "--held-out", 0) == 2
    assert "--held-out 1 takes all" in capsys.readouterr().err
    other = write_slim_weights(tmp_path / "other.safetensors")
    assert call(monkeypatch, *words[:2], other, *words[2:], "--held-out", 1) == 2
    assert f"{other}: a UV layout of" in capsys.readouterr().err
