"""Thousands of damaged and forged files: only the store's own errors; no other pixels, crash, hang or flood."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_no_damaged_or_forged_file_gets_past_the_readers(tmp_path):
    command = [sys.executable, "-m", "tests.storage.fuzz_readers", str(tmp_path), "1", "2000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"died on or after {done.stderr.splitlines()[-3:]}"
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["bugs"] == []
    assert seen["refused"] > 1000  # or the mutations were too tame
