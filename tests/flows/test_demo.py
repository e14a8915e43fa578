"""The main job end to end, at its smallest: the real command in a process of its own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flows.demo import simulate_dataset
from storage.snapshot import open_snapshot
from tasks.errors import BuildError


@pytest.mark.slow
def test_the_demo_takes_photographs_to_a_report(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    env = os.environ | {"PREFECT_HOME": str(tmp_path / "home" / "prefect")}  # made with its parents
    env.pop("PREFECT_API_URL", None)
    command = [sys.executable, "-c", "import sys; from flows.cli import main; main()"]
    done = subprocess.run(
        [*command, "demo", "--out", str(out), "--size", "tiny", "--format", "parquet", "--workers", "2"],
        env=env,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.count("says nothing about real attacks") == 2, "said first and last"

    assert open_snapshot(str(out / "store")).counts["rows"] > 200
    evaluation = json.loads((out / "run" / "evaluation" / "evaluation.json").read_text())
    assert evaluation["metrics"]["auc"] > 0.75
    page = (out / "run" / "report.html").read_text()
    for part in (
        "Simulated data",
        "mean absolute error, normalised depth",
        "APCER",
        "oracle",
        "embedding before and after",
    ):
        assert part in page, part
    assert page.count("data:image/") > 20
    assert not re.search(r'(?:src|href)="(?!data:|#)', page), "self-contained"


def test_a_wrong_option_of_the_simulation_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"cameras: .*there are phone, webcam, dslr"):
        simulate_dataset(tmp_path / "out", None, {"cameras": ["toaster"]}, workers=1)
    assert not (tmp_path / "out").exists()
