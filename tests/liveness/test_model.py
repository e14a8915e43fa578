"""A shipped model is loaded whole and unchanged, or not at all."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from liveness.card import read_card
from liveness.errors import ModelError
from liveness.graph import network_input
from liveness.model import LivenessModel
from liveness.sharpness import sharpness
from tests.fixtures.shipped import SIZE


@pytest.fixture
def copy(shipped, tmp_path) -> Path:
    return Path(shutil.copytree(shipped, tmp_path / "model"))


def change(folder: Path, **parts) -> None:
    card = json.loads((folder / "model.json").read_text())
    for name, value in parts.items():
        part = card
        *path, last = name.split("__")
        for key in path:
            part = part[key]
        part[last] = value
    (folder / "model.json").write_text(json.dumps(card))


def test_scores_are_one_a_crop_whatever_the_batch(shipped):
    model = LivenessModel(shipped)
    crops = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3)).astype(np.uint8)
    scores = model.score(crops)
    assert scores.dtype == np.float64
    assert ((scores > 0) & (scores < 1)).all()
    assert scores == pytest.approx([float(model.score(crop[None])[0]) for crop in crops], abs=1e-9)


def test_the_golden_picture_tells_red_from_blue(shipped):
    model = LivenessModel(shipped)
    golden = np.asarray(Image.open(shipped / "golden.png"))
    assert golden.shape == (SIZE, SIZE, 3)
    right, swapped = model.score(golden[None])[0], model.score(golden[None, ..., ::-1])[0]
    network = model.card.networks["fp32"]
    assert right == pytest.approx(network.golden_score, abs=1e-6)
    assert swapped == pytest.approx(model.card.golden.score_bgr, abs=1e-6)
    assert abs(right - swapped) > 10 * network.tolerance


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"networks__fp32__golden_score": 0.9}, "the golden picture scores"),
        ({"networks__fp32__sha256": "0" * 64}, "model.onnx: not the file that model.json describes"),
        ({"golden__sha256": "0" * 64}, "golden.png: not the file"),
        ({"crop__margin": 1.5}, "describe different inputs"),
        ({"output__positive_class": "spoof"}, "output.positive_class"),
        ({"input__colour": "BGR"}, "input.colour"),
        ({"input__size": 32}, "the card says 32"),
        ({"format": 2}, "format: .*of this release"),
        ({"networks__fp32__file": "../../../etc/passwd"}, "passwd: cannot read it"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_card_that_was_changed_is_refused(copy, parts, said):
    change(copy, **parts)
    with pytest.raises(ModelError, match=said) as caught:
        LivenessModel(copy)
    assert str(copy) in str(caught.value)


def test_a_file_name_that_leads_elsewhere_stays_in_the_folder(copy):
    (copy.parent / "elsewhere.onnx").write_bytes((copy / "model.onnx").read_bytes())
    change(copy, networks__fp32__file="../elsewhere.onnx")
    with pytest.raises(ModelError, match=r"model/elsewhere\.onnx: cannot read it"):
        LivenessModel(copy)


@pytest.mark.parametrize("name", ["model.onnx", "golden.png", "model.json"])
def test_a_file_that_is_missing_or_damaged_is_named(copy, name):
    whole = (copy / name).read_bytes()
    for content in (whole[: len(whole) // 2], b""):
        (copy / name).write_bytes(content)
        with pytest.raises(ModelError, match=name):
            LivenessModel(copy)
    (copy / name).unlink()
    with pytest.raises(ModelError, match=rf"{name}: cannot read it"):
        LivenessModel(copy)


def test_a_huge_card_is_not_read(copy):
    with (copy / "model.json").open("ab") as file:
        file.truncate(1 << 30)
    with pytest.raises(ModelError, match="larger than"):
        read_card(copy)


def test_a_training_run_is_no_shipped_model(shipped):
    with pytest.raises(ModelError, match="not a training run's"):
        read_card(shipped.parent / "run")


def test_a_threshold_or_precision_that_is_not_there_is_named(shipped):
    model = LivenessModel(shipped)
    assert model.threshold("bpcer5").value == 0.4
    with pytest.raises(ModelError, match="no threshold 'apcer1'; there are bpcer5, eer"):
        model.threshold("apcer1")
    with pytest.raises(ModelError, match="no int8 network; there are fp32"):
        LivenessModel(shipped, "int8")


@pytest.mark.parametrize("crops", [np.zeros((1, 64, 64, 3)), np.zeros((64, 64, 3), np.uint8)])
def test_other_pixels_are_refused(shipped, crops):
    with pytest.raises(ModelError, match="expected uint8"):
        LivenessModel(shipped).score(crops)


def test_crops_of_another_size_are_resized_as_in_training():
    import torch

    crops = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3)).astype(np.uint8)
    images = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255
    for size in (64, 128):
        trained = torch.nn.functional.interpolate(images, (size, size), mode="bilinear", antialias=True)
        assert np.abs(network_input(crops, size) - trained.numpy()).max() < 1e-6


def test_blur_lowers_sharpness_and_the_background_does_not_count():
    rng = np.random.default_rng(0)
    sharp = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    blurred = np.asarray(Image.fromarray(sharp).resize((16, 16)).resize((64, 64), Image.Resampling.BICUBIC))
    assert sharpness(blurred) < sharpness(sharp) / 20
    assert sharpness(np.full((64, 64, 3), 90, np.uint8)) == 0
    framed = sharp.copy()
    framed[:10], framed[:, :10] = 0, 0
    assert sharpness(framed) == sharpness(sharp)


def test_a_shipped_model_runs_without_torch(shipped):
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from liveness.model import LivenessModel\n"
        f"LivenessModel(Path({str(shipped)!r})).score(np.zeros((1, 64, 64, 3), np.uint8))\n"
        "print(sorted({'torch', 'training', 'storage', 'tasks', 'onnx'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
