"""A killed run goes on where it was, to the very same bytes; and what is not its checkpoint is refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.balls import FAST, FAST_PDGAN
from training.checkpoint import load_json
from training.config import LoopConfig
from training.errors import TrainingError
from training.finetune import FinetuneConfig, finetune
from training.pretrain import PretrainConfig, pretrain

LOOP = {"checkpoint_updates": 3, "keep": 2, "ema": 0.9, "track": ()}
RUN = """
import sys, time, torch
from pathlib import Path
from tests.fixtures.balls import FAST, FAST_PDGAN
from training.config import LoopConfig
from training.pretrain import PretrainConfig, pretrain

torch.set_num_threads(1)

def progress(stage, done, total, terms):
    print(done, flush=True)
    if done == int(sys.argv[3]):
        time.sleep(600)  # the test kills it here

config = PretrainConfig(pdgan=FAST_PDGAN, loop=LoopConfig(**%r), **FAST)
pretrain(sys.argv[1], Path(sys.argv[2]), config, progress)
"""


def config(**changed):
    return PretrainConfig(pdgan=FAST_PDGAN, loop=LoopConfig(**{**LOOP, **changed}), **FAST)


@pytest.fixture(scope="module")
def undisturbed(store, tmp_path_factory) -> Path:
    return pretrain(str(store), tmp_path_factory.mktemp("whole"), config())


def kill_at(update: int, store: Path, out: Path) -> None:
    """Start the run in a process of its own and kill it without warning once it has made `update` updates."""
    arguments = [sys.executable, "-c", RUN % LOOP, str(store), str(out), str(update)]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == update:
                break
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


def losses(folder: Path) -> list[dict]:
    return [{k: v for k, v in r.items() if k != "seconds"} for r in load_json(folder / "history.json")]


@pytest.mark.slow
def test_a_run_killed_twice_in_mid_epoch_ends_with_the_same_bytes(store, undisturbed, tmp_path):
    """8 updates an epoch, a checkpoint every 3: killed after 5, in the first epoch, and after 21, with the critic."""
    kill_at(5, store, tmp_path)
    assert sorted(p.name for p in (tmp_path / "checkpoints").glob("0*.json")) == ["00000003.json"]
    kill_at(21, store, tmp_path)
    names = sorted(p.name for p in (tmp_path / "checkpoints").glob("0*.json"))
    assert names == ["00000016.json", "00000018.json"]
    calls = []
    pretrain(str(store), tmp_path, config(), lambda *call: calls.append(call[1]))
    assert calls == list(range(19, 25))
    for name in ("model.safetensors", "encoder.safetensors"):
        assert (tmp_path / name).read_bytes() == (undisturbed / name).read_bytes()
    assert losses(tmp_path) == losses(undisturbed)


def stop_at(update):
    def progress(stage, done, total, terms):
        if done == update:
            raise KeyboardInterrupt

    return progress


@pytest.fixture(scope="module")
def eleven_updates(store, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("interrupted")
    with pytest.raises(KeyboardInterrupt):
        pretrain(str(store), folder, config(), stop_at(11))
    return folder


@pytest.fixture
def interrupted(eleven_updates, tmp_path) -> Path:
    return shutil.copytree(eleven_updates, tmp_path / "run")


def test_an_interrupted_run_goes_on_from_its_last_checkpoint(store, undisturbed, interrupted):
    calls = []
    pretrain(str(store), interrupted, config(keep=1), lambda *call: calls.append(call[1]))  # how many are kept is free
    assert calls == list(range(10, 25))
    assert (interrupted / "model.safetensors").read_bytes() == (undisturbed / "model.safetensors").read_bytes()
    kept = sorted(p.name for p in (interrupted / "checkpoints").iterdir())
    assert kept == ["00000024.json", "00000024.safetensors", "best.json", "best.safetensors", "done.json"]


def test_a_finished_run_starts_anew(store, tmp_path):
    calls = []
    for _ in range(2):
        finetune(str(store), tmp_path, FinetuneConfig(epochs=1, **FAST), lambda *call: calls.append(call[1]))
    assert calls == [*range(1, 9), *range(1, 9)]


def spoil_bytes(folder):
    path = sorted(folder.glob("0*.safetensors"))[-1]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def spoil_format(folder):
    path = sorted(folder.glob("0*.json"))[-1]
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))


@pytest.mark.parametrize(
    ("spoil", "changed", "message"),
    [
        (None, {"ema": 0.5}, r"unfinished run with other settings \(config.loop.ema\) is here"),
        (spoil_bytes, {}, r"00000009.safetensors: damaged \(sha256 differs\)"),
        (spoil_format, {}, "checkpoint format 99, this release has 1; remove"),
        (lambda folder: sorted(folder.glob("0*.safetensors"))[-1].unlink(), {}, "remove its .json to go on"),
    ],
)
def test_checkpoints_that_cannot_be_gone_on_from_say_why(store, interrupted, spoil, changed, message):
    if spoil:
        spoil(interrupted / "checkpoints")
    before = sorted(p.name for p in (interrupted / "checkpoints").iterdir())
    with pytest.raises(TrainingError, match=message):
        pretrain(str(store), interrupted, config(**changed))
    assert sorted(p.name for p in (interrupted / "checkpoints").iterdir()) == before


def test_a_checkpoint_whose_json_was_not_written_yet_is_none(store, undisturbed, interrupted):
    (interrupted / "checkpoints" / "00000009.json").unlink()
    calls = []
    pretrain(str(store), interrupted, config(), lambda *call: calls.append(call[1]))
    assert calls[0] == 9
    assert (interrupted / "model.safetensors").read_bytes() == (undisturbed / "model.safetensors").read_bytes()


def test_the_best_epochs_weights_are_kept_when_asked_for(store, tmp_path):
    settings = FinetuneConfig(epochs=3, lr=3e-3, loop=LoopConfig(select="best"), **FAST)
    model = finetune(str(store), tmp_path, settings)
    history = load_json(model / "history.json")
    best = max(history, key=lambda r: r["dev_auc"])["epoch"]
    card = load_json(model / "model.json")
    assert card["training"]["epoch"] == best
    assert card["threshold"]["dev_auc"] == pytest.approx(history[best - 1]["dev_auc"])
