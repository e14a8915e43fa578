"""An experiment by its command: a task a cell, a table, and nothing done twice."""

import json
import sys
from pathlib import Path

import pytest

from tests.fixtures.balls import build_store

MINE = """
name: mine
title: Two starts
source: nobody
protocol: own-splits
columns: {parameters: M, hter: ACER, auc: AUC}
rows:
  - {name: a, title: A, method: pdgan, settings: {epochs: 1}, published: {auc: 0.5}}
  - {name: b, title: B, method: deepixbis, settings: {growth: 4}}
  - {name: c, title: C, method: pdgan, settings: {multihead: attack_detail}}
"""
RUN = ["--set", "run.batch=16", "--set", "run.input_size=64", "--set", "run.device=cpu"]


def pseudodepth(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    from flows.cli import main

    monkeypatch.setattr(sys, "argv", ["pseudodepth", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


@pytest.mark.usefixtures("prefect_server")
def test_the_command_writes_a_table_and_a_second_run_trains_nothing(tmp_path: Path, monkeypatch, capfd) -> None:
    store = build_store(tmp_path / "store", {"train": [f"s{i}" for i in range(4)], "test": ["t0", "t1"]}, each=8)
    (tmp_path / "mine.yaml").write_text(MINE)
    command = ["experiment", str(tmp_path / "mine.yaml"), str(store), "-o", str(tmp_path / "out"), "--seed", "3", *RUN]
    # b fails in training, c cannot be trained on this store: both say why, and a is measured all the same
    assert pseudodepth(monkeypatch, *command) == 1
    text = (tmp_path / "out" / "table.md").read_text()
    assert text in capfd.readouterr().out
    assert "| A | published, not stated | – | – | 0.5 |" in text
    assert "| A | ours, dev (1 cell) | 0.71 |" in text
    assert "| B | ours | not measured |" in text
    assert "- B: b-own-splits-seed3: pictures of 64 px give maps of 4 px, the linear layer takes 14" in text
    assert "- C: multihead: column attack_detail has 1 attack types" in text
    written = json.loads((tmp_path / "out" / "table.json").read_text())
    assert [cell["row"] for cell in written["cells"]] == ["a"]
    model = next((tmp_path / "out" / "training").glob("*/model.json"))
    before = model.stat().st_mtime_ns
    assert pseudodepth(monkeypatch, *command) == 1
    assert model.stat().st_mtime_ns == before
    assert (tmp_path / "out" / "table.md").read_text() == text


# of one core 25 s; the paper's epochs and rate leave the maps of a hundred pictures noise
QUICK = [
    *("run.batch=16", "run.input_size=112", "run.device=cpu", "run.loop.schedule=cosine", "settings.epochs=4"),
    *("pretrain.pdgan.depth_size=32", "pretrain.pdgan.warmup_epochs=2", "pretrain.pdgan.adversarial_epochs=2"),
    *("pretrain.pdgan.critic_every=2", "pretrain.pdgan.generator_lr=0.001"),
]


@pytest.mark.slow
def test_the_whole_grid_of_the_papers_table_on_the_demos_dataset(
    built: tuple[Path, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["experiment", "pdgan-intra", str(built[0]), "--protocol", "own-splits", "-o", str(tmp_path)]
    command += ["--seed", "0", "--seed", "1", *(word for text in QUICK for word in ("--set", text))]
    assert pseudodepth(monkeypatch, *command) == 0
    text = (tmp_path / "table.md").read_text()
    assert (
        "Published figures are of celeba-spoof-intra, ours of the stores' own splits: they cannot be compared." in text
    )
    assert "no weights 'imagenet'; bring them as --weights imagenet=FILE" in text
    rows = {row["row"]: row for row in json.loads((tmp_path / "table.json").read_text())["rows"]}
    assert rows["imagenet"]["measured"] == rows["aenet"]["measured"] == {}
    for name in ("he", "pdgan", "l1-only"):
        dev, oracle = (rows[name]["measured"][at] for at in ("dev", "oracle"))
        assert dev["auc"]["count"] == 2
        assert dev["auc"]["mean"] > 0.75, name
        assert oracle["hter"]["mean"] <= dev["hter"]["mean"]
        assert f"ours, dev (2 cells) | {dev['parameters']['mean']:.2f} |" in text
    assert dev["hter"]["std"] is not None
    for picture in ("figure-1.png", "figure-4.png", "figure-5.png", "figure-6.png", "figure-7.svg", "det.svg"):
        assert (tmp_path / "figures" / picture).stat().st_size > 5_000, picture
    assert len(list((tmp_path / "pretraining").iterdir())) == 4  # with and without critic, two seeds
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*/*.json")}
    assert pseudodepth(monkeypatch, *command) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*/*.json")} == made, "nothing is done twice"


def test_wrong_options_are_one_line(tmp_path: Path, monkeypatch, capfd) -> None:
    store = build_store(tmp_path / "store", {"train": ["a", "b"], "test": ["c"]}, each=4)
    out = ["-o", str(tmp_path / "out")]
    for arguments, message in (
        ([str(store), "--weights", "imagenet"], "--weights imagenet: expected NAME=FILE"),
        ([str(store), "--set", "epochs"], "--set epochs: expected NAME=VALUE"),
    ):
        assert pseudodepth(monkeypatch, "experiment", "pdgan-intra", *arguments, *out) == 2
        assert message in capfd.readouterr().err
    assert pseudodepth(monkeypatch, "experiments") == 0
    assert "pdgan-intra" in capfd.readouterr().out
