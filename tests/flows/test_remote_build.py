"""The build flow from one bucket into another: real Prefect, real Dask workers, a real S3 server."""

import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from flows.build_depth import build_depth
from flows.cluster import DaskConfig
from flows.source import Source
from storage.dataset import DepthDataset
from storage.snapshot import open_snapshot
from storage.verify import verify
from tasks.config import BuildConfig
from tests.fixtures.object_store import SECRET, S3Server, upload
from tests.fixtures.photos import ASTRONAUT, GRACE_HOPPER, photo
from tests.fixtures.trees import save

ROOT = Path(__file__).parents[2]
DATA, STORE = "s3://bucket/flow/data", "s3://bucket/flow/store"


@pytest.mark.slow
def test_a_bucket_becomes_a_store_in_a_bucket_and_is_refreshed(
    s3: S3Server, tmp_path: Path, prefect_server: None
) -> None:
    save(tmp_path / "train/live/eileen/1.png", photo(ASTRONAUT))
    save(tmp_path / "train/spoof/print/eileen/3.png", photo(ASTRONAUT)[:, 40:])
    upload(tmp_path, DATA)
    s3.fail("GET", "1.png")
    s3.fail("PUT", ".h5")

    def run() -> tuple[int, bool, int, int]:
        sources = [Source(name="folder", root=DATA)]
        done = build_depth(sources, STORE, BuildConfig(), DaskConfig(workers=1))
        return done.snapshot, done.committed, done.new, done.unchanged

    assert run() == (1, True, 2, 0)
    assert run() == (1, False, 0, 2)
    save(tmp_path / "dev/live/grace/2.png", photo(GRACE_HOPPER))
    upload(tmp_path / "dev", f"{DATA}/dev")
    assert run() == (2, True, 1, 2)
    report = verify(STORE)
    assert (report.problems, report.orphans) == ([], [])
    labels = sorted((row["path"], row["label"]) for row in DepthDataset(STORE).table.to_pylist())
    assert labels == [
        ("dev/live/grace/2.png", 0),
        ("train/live/eileen/1.png", 0),
        ("train/spoof/print/eileen/3.png", 1),
    ]
    lineage = open_snapshot(STORE).lineage
    assert [source["root"] for source in lineage["sources"]] == [DATA]
    assert SECRET not in str(lineage)
    objects = boto3.client("s3").list_objects_v2(Bucket="bucket", Prefix="flow/store/")["Contents"]
    assert not [item["Key"] for item in objects if "probe" in item["Key"]]
    assert all(fault.times == 0 for fault in s3.faults)


@pytest.mark.parametrize(
    "arguments",
    [
        ["build", f"folder=s3://tester:{SECRET}@bucket/data", "--store", "store"],
        ["build", "folder=.", "--store", f"s3://tester:{SECRET}@bucket/store"],
        ["pretrain", f"s3://tester:{SECRET}@bucket/store@3", "--out", "out"],
        ["verify", f"s3://bucket/store?token={SECRET}"],
    ],
)
def test_credentials_in_a_url_are_refused_before_any_work_and_not_repeated(
    arguments: list[str], tmp_path: Path
) -> None:
    home = {"PREFECT_HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "from flows.cli import main; main()", *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=home, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "must not hold credentials" in done.stderr
    assert done.stderr.count("\n") == 1
    assert SECRET not in done.stdout + done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
