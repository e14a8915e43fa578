"""`pseudodepth methods`, and how `pseudodepth train` takes what a method says of its run."""

import json

import pytest
from rich.console import Console
from typer.testing import CliRunner

from flows.cli import app
from tests.fixtures.balls import build_store
from training.cost import cost
from training.methods import METHODS


def test_the_table_has_every_method_with_its_work():
    result = CliRunner().invoke(app, ["methods", "--no-time", "--json"])
    assert result.exit_code == 0, result.output
    costs = {entry["name"]: entry for entry in json.loads(result.output)}
    assert tuple(costs) == METHODS
    assert costs["pdgan"]["parameters"] == 712_465
    assert costs["pdgan"]["input"] == [3, 224, 224]
    assert costs["cdcn"]["target"] == "depth 32"
    assert all(entry["milliseconds"] is None for entry in costs.values())


def test_figures_are_whole_on_a_narrow_screen(monkeypatch):
    monkeypatch.setattr("flows.run.console", Console(width=80))
    said = CliRunner().invoke(app, ["methods", "--no-time"]).output
    assert "11,266,105" in said
    assert "pixelwise-binary" in said
    assert "ms" not in said.split("pdgan")[0]


@pytest.mark.parametrize(
    ("name", "giga"),  # as counted by hand from the layers
    [
        ("pdgan", 0.135),
        ("pdgan-generator", 0.293),
        ("pixelwise-depth", 2.96),
        ("pixelwise-binary", 1.47),
        ("deepixbis", 4.59),
        ("lgsc", 7.67),
        ("cdcn++", 50.8),
    ],
)
def test_multiplications_are_counted(name, giga):
    assert cost(name, timed=False).macs == pytest.approx(giga * 1e9, rel=0.03)


def test_a_network_is_timed_and_shown():
    assert 0.1 < cost("pdgan").milliseconds < 10_000
    result = CliRunner().invoke(app, ["methods", "pdgan", "--no-time"], env={"COLUMNS": "160"})
    assert "712,465" in result.output


def test_a_methods_own_run_lies_under_what_is_asked(tmp_path):
    store = build_store(tmp_path / "store", {"train": ["a", "b", "c", "d"]}, each=8)
    sets = ["input_size=64", "batch=16", "settings.epochs=1", "settings.width=0.1", "loop.track=[]", "device=cpu"]
    asked = [part for text in sets for part in ("--set", text)]
    result = CliRunner().invoke(app, ["train", str(store), "--method", "cdcn", "--out", str(tmp_path / "m"), *asked])
    assert result.exit_code == 0, result.output
    config = json.loads((tmp_path / "m" / "model.json").read_text())["training"]["config"]
    assert (config["input_size"], config["batch"]) == (64, 16)  # as asked
    assert config["loop"]["milestones"] == [500, 1000]  # as published
