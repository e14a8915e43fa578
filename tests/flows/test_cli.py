"""The command line as a user meets it: exit codes, one clear line for each mistake, and what the commands print."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.cli import build_config, main
from storage.config import StoreConfig
from storage.snapshot import Store
from storage.writer import shard_writer
from tasks.errors import BuildError
from tests.fixtures.balls import build_store
from tests.fixtures.samples import make_samples, picture


def call(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr("sys.argv", ["pseudodepth", *map(str, words)])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
def store(tmp_path: Path) -> Path:
    root = tmp_path / "store"
    with shard_writer(root, "one", StoreConfig(), {}) as writer:
        writer.write(make_samples(6))
    Store(root).commit([writer.info], parent=None, config={}, lineage={})
    return root


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["celeba-spoof"], "expected NAME=ROOT"),
        (["celeba=/"], "no such dataset adapter; there are "),
        (["celeba-spoof=/nowhere"], "/nowhere: no such folder"),
    ],
)
def test_a_wrong_source_is_one_line_and_exit_code_2(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert call(monkeypatch, "build", *words, "--store", tmp_path / "store") == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("pseudodepth: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "store").exists()


def test_a_wrong_option_names_the_setting_and_what_it_accepts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert call(monkeypatch, "build", f"folder={tmp_path}", "--store", tmp_path / "s", "--aligner", "magic") == 2
    error = capsys.readouterr().err
    assert "align.aligner" in error
    assert "facemesh" in error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--store", "s4://bucket/store"], "s4://: unknown"),
        (["--store", "store@3"], "a build writes a store, not a snapshot"),
        (["--store", "file"], "file"),  # a file is in the way
        (["--store", "store", "--detector", "given"], "no sample could be made: 4 rejects; nothing was committed"),
    ],
)
def test_a_store_that_cannot_be_written_or_would_be_empty_is_one_line(
    words: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    prefect_server: None,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    for i, kind in enumerate(["train/live", "train/spoof/print", "test/live", "test/spoof/print"]):
        folder = tmp_path / "data" / kind / "s1"
        folder.mkdir(parents=True)
        Image.fromarray(picture(np.random.default_rng(i), 64)).save(folder / "1.png")
    assert call(monkeypatch, "build", "folder=data", *words, "--workers", "1") == 2
    error = capsys.readouterr().err
    assert said in error.splitlines()[-1]
    assert error.splitlines()[-1].startswith("pseudodepth: ")
    assert not list(tmp_path.glob("*/snapshots/*"))


def test_pretrain_finetune_and_evaluate_take_their_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, prefect_server: None
) -> None:
    balls = build_store(tmp_path / "balls", {"train": ["a", "b", "c"], "test": ["d"]})
    gan, model, out = tmp_path / "gan", tmp_path / "model", tmp_path / "evaluation"
    options = ["--warmup-epochs", 1, "--adversarial-epochs", 1, "--depth-size", 32, "--batch", 8]
    assert call(monkeypatch, "pretrain", balls, "--out", gan, *options) == 0
    about = json.loads((gan / "model.json").read_text())
    assert '"depth_size": 32' in json.dumps(about)
    assert len(json.loads((gan / "history.json").read_text())) == 2
    assert call(monkeypatch, "finetune", balls, "--out", model, "--encoder", gan, "--epochs", 1, "--batch", 8) == 0
    assert call(monkeypatch, "evaluate", balls, model, "--out", out) == 0
    assert "APCER print" in capsys.readouterr().out
    assert call(monkeypatch, "evaluate", balls, model, "--out", out, "--split", "train") == 2
    assert "--seen-subjects" in capsys.readouterr().err
    assert call(monkeypatch, "evaluate", balls, model, "--out", out, "--split", "train", "--seen-subjects") == 0
    sets = ["--set", "settings.lambda_g=0", "--set", "settings.lambda_cg=0", "--set", "settings.warmup_epochs=1"]
    sets += ["--set", "settings.adversarial_epochs=1", "--set", "settings.depth_size=32", "--set", "batch=8"]
    assert call(monkeypatch, "train", balls, "--method", "pdgan-generator", "--out", tmp_path / "l1", *sets) == 0
    assert "g_adversarial" not in json.loads((tmp_path / "l1" / "history.json").read_text())[1]
    assert call(monkeypatch, "train", balls, "--method", "magic", "--out", tmp_path / "x") == 2
    assert "there are pdgan" in capsys.readouterr().err
    assert call(monkeypatch, "finetune", balls, "--out", model, "--set", "loop.emma=0.9") == 2
    assert "loop.emma" in capsys.readouterr().err
    assert call(monkeypatch, "finetune", balls, "--out", model, "--set", "nothing") == 2
    assert "expected NAME=VALUE" in capsys.readouterr().err
    assert call(monkeypatch, "pretrain", balls, "--out", gan, "--batch", 3) == 2
    assert "PretrainConfig.batch" in capsys.readouterr().err


def test_train_liveness_goes_from_a_store_to_a_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, prefect_server: None
) -> None:
    balls, out = build_store(tmp_path / "balls", {"train": ["a", "b", "c"], "test": ["d"]}), tmp_path / "out"
    small = [f"{part}.{name}" for part in ("pretraining", "finetuning") for name in ("batch=8", "input_size=64")]
    small += ["pretraining.pdgan.warmup_epochs=1", "pretraining.pdgan.adversarial_epochs=1"]
    small += ["pretraining.pdgan.depth_size=32", "finetuning.epochs=1"]
    sets = [word for text in small for word in ("--set", text)]
    assert call(monkeypatch, "train-liveness", balls, "--out", out, "--seed", 5, *sets) == 0
    said = capsys.readouterr().out
    assert "APCER print" in said
    assert f"report: {out / 'report.html'}" in said.replace("\n", "")  # the console breaks long lines
    model = json.loads((out / "model" / "model.json").read_text())
    assert model["training"]["config"]["seed"] == 5
    assert model["training"]["encoder"] == str(out / "gan")
    assert json.loads((out / "evaluation" / "evaluation.json").read_text())["model"]["folder"] == str(out / "model")
    assert "<html" in (out / "report.html").read_text()
    assert call(monkeypatch, "train-liveness", balls, "--out", out, "--set", "epochs=1") == 2
    assert "begin with `pretraining.` or `finetuning.`" in capsys.readouterr().err


def test_options_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "build.yaml"
    file.write_text("view: {views: 3, margin: 1.5}\nseed: 7\n")
    config = build_config(file, {"view.views": 5, "store.format": None})
    assert (config.view.views, config.view.margin, config.seed, config.store.format) == (5, 1.5, 7, "hdf5")
    file.write_text("view: [")
    with pytest.raises(BuildError, match=r"build\.yaml: not a readable YAML file"):
        build_config(file, {})
    file.write_text("view: {vews: 3}")
    with pytest.raises(BuildError, match=r"view\.vews"):
        build_config(file, {})


def test_verify_passes_a_whole_store_and_names_a_damaged_file(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "verify", store) == 0
    assert "1 shards, 6 rows" in capsys.readouterr().out
    shard = next(store.glob("shards/*.h5"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.chmod(0o644)
    shard.write_bytes(content)
    assert call(monkeypatch, "verify", store) == 1
    assert shard.name in capsys.readouterr().out


def test_verify_and_inspect_of_no_store_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("verify", "inspect"):
        assert call(monkeypatch, command, tmp_path) == 2
        assert "pseudodepth build" in capsys.readouterr().err


def test_inspect_shows_how_quality_is_distributed_and_draws_the_worst(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "out" / "quality.png"
    assert call(monkeypatch, "inspect", store, "--quality", sheet) == 0
    said = capsys.readouterr().out
    assert "quality of 2 live frames" in said  # of two views each: a quality is the frame's
    assert "0.3 to 0.4" in said
    with Image.open(sheet) as picture:
        pixels = np.asarray(picture).astype(int)
    green = (pixels[..., 1] > 200) & (pixels[..., 0] < 60) & (pixels[..., 2] < 60)
    assert green.sum() > 50  # lines of equal depth


def test_inspect_counts_the_samples_and_draws_them(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "out" / "sheet.png"
    assert call(monkeypatch, "inspect", store, "--sheet", sheet) == 0
    assert "live" in capsys.readouterr().out
    with Image.open(sheet) as picture:
        assert np.asarray(picture).std() > 10
