"""`pseudodepth prnet`: weights imported as a user does it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from prnet import PRNet
from prnet.checkpoint import import_checkpoint
from tests.fixtures.prnet_layout import random_network, write_uv_folder
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
