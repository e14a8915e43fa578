"""Every method on the demo's dataset by the same commands: compared in one table, exported, and used without torch."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.fixtures.demo_store import build_demo_store
from tests.flows.test_cli import call
from training.evaluate import read_scores
from training.methods import METHODS, get_method

PROTOCOL = "celeba-spoof-intra"
COMPARED = [name for name in METHODS if name != "pdgan-generator"]
OF_CLIPS = "fas-sgtd"
# small, thin and short: as far as each method gets in some seconds
CHANGES: dict[str, Any] = {
    "run": {"device": "cpu", "batch": 16, "input_size": 96, "loop": {"track": []}},
    "pretrain": {
        "pdgan": {"warmup_epochs": 2, "adversarial_epochs": 1, "generator_lr": 1e-3, "depth_size": 32},
    },
    "rows": {
        "pdgan": {"settings": {"epochs": 4}},
        "pixelwise-depth": {"settings": {"width": 8, "lr": 2e-3, "epochs": 4, "depth_size": 96}},
        "pixelwise-binary": {"settings": {"width": 8, "lr": 2e-3, "epochs": 5}},
        "deepixbis": {"settings": {"growth": 8, "lr": 2e-3, "epochs": 3, "map_size": 6}},
        "cdcn": {"settings": {"width": 0.125, "lr": 5e-3, "epochs": 5}, "run": {"input_size": 64, "batch": 4}},
        "cdcn++": {"settings": {"width": 0.125, "lr": 5e-3, "epochs": 4}, "run": {"input_size": 64, "batch": 4}},
        "fas-sgtd-single": {"settings": {"width": 0.125, "lr": 2e-3, "epochs": 4}, "run": {"input_size": 64}},
        "lgsc": {
            "settings": {"width": 0.125, "lr": 5e-3, "epochs": 6, "norm": "batch"},
            "run": {"batch": 8, "augment": {"geometry": {"rotation": 0}}},
        },
        "googlenet": {"settings": {"lr": 1e-3, "epochs": 3}},
        "resnet18": {"settings": {"width": 0.25, "lr": 1e-3, "epochs": 4}},
        "se-resnet18": {"settings": {"width": 0.25, "lr": 1e-3, "epochs": 3}},
    },
}
PREDICT = """
import contextlib, io, sys
from flows.cli import main
for model in list(sys.argv[1:]):
    sys.argv[1:] = ["predict", STORE, "--split", "test", "--json", "--min-sharpness", "0", "--model", model]
    with contextlib.redirect_stdout(io.StringIO()) as told, contextlib.suppress(SystemExit):
        main()
    open(model + ".jsonl", "w").write(told.getvalue())
print(sorted({"torch", "prefect", "dask", "onnx"} & sys.modules.keys()))
"""

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]


def settings(changes: dict[str, Any], before: str = "") -> Iterator[str]:
    """As `--set` takes them."""
    for name, value in changes.items():
        if isinstance(value, dict):
            yield from settings(value, f"{before}{name}.")
        else:
            yield from ("--set", f"{before}{name}={value}")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    people = {"train_subjects": 20, "test_subjects": 4, "live": 8, "spoof": 9}
    return build_demo_store(tmp_path_factory.mktemp("demo"), seed=1, **people)


@pytest.fixture(scope="module")
def compared(store, tmp_path_factory) -> SimpleNamespace:
    """The command's folder, what it ended with, and its measured cells by row."""
    out = tmp_path_factory.mktemp("compare") / "out"
    with pytest.MonkeyPatch.context() as monkeypatch:
        words = ["compare", store, "--protocol", PROTOCOL, "--seed", 0, "-o", out, *settings(CHANGES)]
        code = call(monkeypatch, "experiment", *words)
    cells = {cell["row"]: cell for cell in json.loads((out / "table.json").read_text())["cells"]}
    return SimpleNamespace(out=out, code=code, cells=cells)


@pytest.fixture(scope="module")
def shipped(compared, store, tmp_path_factory) -> dict[str, list[dict]]:
    """What `predict` says of the store's test samples with each exported model, in a process without torch."""
    folder = tmp_path_factory.mktemp("shipped")
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, cell in compared.cells.items():
            assert call(monkeypatch, "export", compared.out / cell["model"], "-o", folder / name) == 0
    models = [str(folder / name) for name in compared.cells]
    code = PREDICT.replace("STORE", repr(str(store)))
    done = subprocess.run([sys.executable, "-c", code, *models], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", "neither torch nor a server"
    return {name: [json.loads(line) for line in open(f"{folder / name}.jsonl")] for name in compared.cells}


def test_the_command_trains_all_and_leaves_one_table_and_one_plot(compared):
    assert compared.code == 0
    assert list(compared.cells) == [name for name in COMPARED if name != OF_CLIPS]
    table, plot = (compared.out / "table.md").read_text(), (compared.out / "figures" / "det.svg").read_text()
    assert "(figures/det.svg)" in table
    assert "cannot be compared" not in table  # nothing was published for it
    for name in compared.cells:
        assert f"| {name} ({get_method(name).reference}) | ours, dev (1 cell) |" in table
        assert f"<!-- {name} -->" in plot
    assert f"| {OF_CLIPS} ({get_method(OF_CLIPS).reference}) | ours | not measured |" in table
    assert "no clip of 5 frames" in table


@pytest.mark.parametrize("name", [name for name in COMPARED if name != OF_CLIPS])
def test_every_method_beats_chance_clearly(compared, name):
    rates = compared.cells[name]["levels"]["sample"]["dev"]
    assert rates["n_live"] + rates["n_spoof"] == 68
    assert rates["auc"] > 0.85


@pytest.mark.parametrize("name", [name for name in COMPARED if name != OF_CLIPS])
def test_every_exported_method_predicts_what_torch_scored(compared, shipped, name):
    found = next((compared.out / "cells").glob(f"{name}-{PROTOCOL}-*/evaluation/scores.parquet"))
    columns = pq.read_table(found, columns=["dataset", "path"]).to_pylist()
    known = dict(zip((f"{row['dataset']}:{row['path']}#0" for row in columns), read_scores(found).score, strict=True))
    assert {one["path"]: one["score"] for one in shipped[name]} == pytest.approx(known, abs=1e-4)
