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
  - {name: b, title: B, method: pdgan, settings: {epochs: 1, multihead: attack_detail}}
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
    # row b cannot be trained on this store: it says why, and a is measured all the same
    assert pseudodepth(monkeypatch, *command) == 1
    text = (tmp_path / "out" / "table.md").read_text()
    assert text in capfd.readouterr().out
    assert "| A | published, not stated | – | – | 0.5 |" in text
    assert "| A | ours, dev (1 cell) | 0.71 |" in text
    assert "| B | ours | not measured |" in text
    assert "b-own-splits-seed3: multihead: column attack_detail has 1 attack types" in text
    written = json.loads((tmp_path / "out" / "table.json").read_text())
    assert [cell["row"] for cell in written["cells"]] == ["a"]
    model = next((tmp_path / "out" / "training").glob("*/model.json"))
    before = model.stat().st_mtime_ns
    assert pseudodepth(monkeypatch, *command) == 1
    assert model.stat().st_mtime_ns == before
    assert (tmp_path / "out" / "table.md").read_text() == text


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
