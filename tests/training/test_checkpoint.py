"""Weights and JSON on disk: the same bytes for the same model, and a plain word for everything that is wrong."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training.checkpoint import load_json, load_model, load_weights, save_json, save_weights
from training.errors import TrainingError
from training.methods.pdgan_classifier import Classifier
from training.methods.resnet import Encoder, he_init

SAVE = """
import sys, torch
from pathlib import Path
from training.checkpoint import save_weights
from training.methods.resnet import Encoder, he_init
net = he_init(Encoder(), torch.Generator().manual_seed(0))
print(save_weights(Path(sys.argv[1]), net, {"role": "encoder", "method": "pdgan", "more": "words"}))
"""


def test_weights_come_back_as_they_were(tmp_path):
    net = he_init(Encoder(), torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    sha256 = save_weights(tmp_path / "deep" / "w.safetensors", net, {"role": "encoder"})
    back = load_weights(tmp_path / "deep" / "w.safetensors", Encoder(), sha256=sha256)
    assert all(torch.equal(v, back.state_dict()[k]) for k, v in net.state_dict().items())
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["w.safetensors"]


def test_equal_weights_are_equal_bytes_in_every_process(tmp_path):
    runs = [
        subprocess.run([sys.executable, "-c", SAVE, str(tmp_path / f"{i}")], capture_output=True, text=True, check=True)
        for i in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "cannot read these weights"),
        (lambda path: path.write_bytes(path.read_bytes()[:1000]), "not a whole safetensors file"),
        (lambda path: path.write_bytes(b""), "not a whole safetensors file"),
        (lambda path: save_weights(path, Classifier(), {}), "do not fit Encoder: the file lacks"),
        (lambda path: save_weights(path, Encoder(width=0.5), {}), "is \\(32, 3, 7, 7\\), not \\(16, 3, 7, 7\\)"),
    ],
)
def test_weights_that_cannot_be_used_say_why(tmp_path, spoil, message):
    path = tmp_path / "w.safetensors"
    save_weights(path, Encoder(), {})
    spoil(path)
    with pytest.raises(TrainingError, match=message):
        load_weights(path, Encoder())


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pytorch_file_gives_its_tensors_whoever_wrapped_them(tmp_path):
    net = he_init(Encoder(), torch.Generator().manual_seed(0))
    state = net.state_dict()
    for number, content in enumerate([state, {"state_dict": {f"module.{name}": v for name, v in state.items()}}]):
        torch.save(content, tmp_path / f"{number}.pth")
        back = load_weights(tmp_path / f"{number}.pth", Encoder())
        assert all(torch.equal(v, back.state_dict()[name]) for name, v in state.items())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda folder: {"conv.weight": Trap(folder / "trap")}, "not a PyTorch weights file"),
        (lambda folder: [torch.zeros(3)], "expected a state dict, names to tensors, found list"),
        (lambda folder: {"epoch": 3}, "expected a state dict, names to tensors, found dict"),
    ],
)
def test_a_pytorch_file_that_holds_more_than_tensors_is_refused_and_nothing_of_it_is_run(tmp_path, content, message):
    torch.save(content(tmp_path), tmp_path / "w.pth")
    with pytest.raises(TrainingError, match=message):
        load_weights(tmp_path / "w.pth", Encoder())
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]


def test_json_refuses_nan_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_json(tmp_path / "h.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def changed(key, value):
    def spoil(folder):
        card = load_json(folder / "model.json")
        *outer, last = key.split(".")
        inner = card
        for name in outer:
            inner = inner[name]
        if value is None:
            del inner[last]
        else:
            inner[last] = value
        (folder / "model.json").write_text(json.dumps(card))

    return spoil


def test_a_model_reads_no_weights_out_of_its_folder(tmp_path, trained):
    folder = tmp_path / "model"
    shutil.copytree(trained.model, folder)
    (folder / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    for file in ("../elsewhere.safetensors", str(tmp_path / "elsewhere.safetensors")):
        changed("weights.file", file)(folder)
        with pytest.raises(TrainingError, match=r"model/elsewhere\.safetensors: cannot read these weights"):
            load_model(folder)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (changed("output.positive_class", "spoof"), "positive_class is 'spoof', not 'live'"),
        (changed("format", 99), "format 99, this release reads 2: train it again"),
        (changed("method", "magic"), "method 'magic' is unknown; there are pdgan"),
        (changed("network", None), "'network'"),
        (changed("weights.sha256", "0" * 64), "not the weights that its JSON describes"),
        (lambda folder: (folder / "model.json").write_text("{"), "not JSON"),
        (lambda folder: (folder / "model.json").unlink(), "is this the folder of a finished run"),
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot read these weights"),
    ],
)
def test_a_model_folder_that_cannot_be_trusted_says_why(tmp_path, trained, spoil, message):
    folder = tmp_path / "model"
    shutil.copytree(trained.model, folder)
    load_model(folder)
    spoil(folder)
    with pytest.raises(TrainingError, match=message):
        load_model(folder)
