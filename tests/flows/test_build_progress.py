"""What a running build tells: the terminal, Prefect's pages, Prometheus."""

import base64
import io
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from PIL import Image
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

from flows.build_depth import build_depth
from flows.cluster import DaskConfig
from flows.metrics import Metrics
from flows.settings import settings
from flows.source import Source
from tasks.errors import BuildError
from tests.fixtures.photos import ASTRONAUT, photo
from tests.fixtures.trees import save


@pytest.fixture
def free_port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("PSEUDODEPTH_METRICS_PORT", str(port))
    settings.cache_clear()
    yield port
    settings.cache_clear()


def test_prometheus_sees_what_shards_add_while_the_block_lasts(free_port: int) -> None:
    address = f"http://127.0.0.1:{free_port}/metrics"
    with Metrics.serving() as metrics:
        for _ in range(2):
            metrics.add("siw", "train", {"media": 3, "samples": 5, "rejects": 1}, {"align": 0.5})
        text = urlopen(address, timeout=5).read().decode()
        with pytest.raises(BuildError, match=f"{free_port} cannot be opened"), Metrics.serving():
            pass
    assert 'pseudodepth_samples_total{dataset="siw",split="train"} 10.0' in text
    assert 'pseudodepth_stage_seconds_total{dataset="siw",split="train",stage="align"} 1.0' in text
    with pytest.raises(OSError, match="refused"):
        urlopen(address, timeout=5)


def test_prefect_keeps_tables_and_a_picture_of_a_build(
    tmp_path: Path, prefect_server: None, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    save(root / "train/live/eileen/1.png", photo(ASTRONAUT))
    save(root / "train/spoof/print/eileen/2.png", photo(ASTRONAUT)[:, 40:])
    save(root / "test/spoof/print/nobody/3.png")
    build_depth([Source(name="folder", root=str(root))], str(tmp_path / "store"), dask=DaskConfig(workers=1))
    line = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"build: 3/3 media, [\d.]+/s [\d.]+ samples/s, 1 rejects", line), line
    with get_client(sync_client=True) as client:
        (page,) = [
            a for a in client.read_artifacts(limit=200) if str(tmp_path) in str(a.data) and "jpeg" in str(a.data)
        ]
        mine = client.read_artifacts(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[page.flow_run_id])), limit=200
        )
    found = {artifact.key: artifact for artifact in mine}
    assert found["build-depth-progress"].data == 100.0
    datasets = found["build-depth-datasets"].data
    assert '"split": "train"' in datasets
    assert '"samples": 2' in datasets
    text = found["build-depth-store"].data
    assert "| folder | test | no-face | 1 |" in text
    (live,) = re.findall(r"^\| folder ((?:\| \d+ ){10})\|$", text, re.M)
    assert sum(map(int, re.findall(r"\d+", live))) == 1
    assert "| dataset | split | read | wait | detect | align |" in text
    (train,) = re.findall(r"^\| folder \| train ((?:\| \d+\.\d ){8})\|$", text, re.M)
    assert all(float(spent) > 0 for spent in re.findall(r"[\d.]+", train)[2:4]), "of detection and alignment"
    (picture,) = re.findall(r"data:image/jpeg;base64,([\w+/=]+)", text)
    assert Image.open(io.BytesIO(base64.b64decode(picture))).size[0] == 8 * 112
