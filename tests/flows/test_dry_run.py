"""`build --dry-run`: the plan and an estimate from a probe; the store is not touched."""

from pathlib import Path

import pytest

from flows.dry_run import PROBE_SAMPLES, estimate
from flows.run import run_build
from tasks.config import BuildConfig
from tasks.plan import EVERYTHING
from tasks.selection import Selection
from tasks.sources import scan

CONFIG = BuildConfig.model_validate({"view": {"views": 2}, "shard_samples": 40})


def test_an_estimate_is_made_from_samples_of_every_part(simulated: Path, tmp_path: Path) -> None:
    scans = [scan("celeba-spoof", simulated)]
    found = estimate(str(tmp_path / "store"), scans, CONFIG.resolved(), EVERYTHING, workers=2)
    assert (found.media, found.samples) == (120, 240)
    assert PROBE_SAMPLES * 0.6 <= found.probed <= PROBE_SAMPLES * 1.4
    # 224x224x3 bytes a sample and the depth of the live ones
    assert 0.9 < found.disk / (240 * 224 * 224 * 3) < 1.3
    half = estimate(str(tmp_path / "store"), scans, CONFIG.resolved(), Selection(splits=["test"]), workers=2)
    assert 0 < half.media < 120
    assert not (tmp_path / "store").exists()


def test_the_command_says_it_in_a_few_lines(
    simulated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_build([f"celeba-spoof={simulated}"], str(tmp_path / "store"), CONFIG, workers=1, dry_run=True)
    said = capsys.readouterr().out
    assert "120 new" in said
    assert "120 media, about 240 samples" in said
    assert "on 1 workers" in said
    assert not (tmp_path / "store").exists()
