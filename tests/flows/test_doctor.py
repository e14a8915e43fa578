"""`pseudodepth doctor`: what is there passes, what is missing says what to do."""

from pathlib import Path

import pytest

from flows.doctor import Check, checks
from flows.settings import Settings
from tests.fixtures.balls import build_store


def by_name(stores: list[str], settings: Settings) -> dict[str, Check]:
    return {check.what: check for check in checks(stores, settings)}


def test_a_machine_that_is_set_up_has_nothing_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    store = build_store(tmp_path / "store", {"train": ["a"]}, each=2)
    found = by_name([str(store), str(tmp_path / "new")], Settings())
    assert {check.what for check in found.values() if check.verdict == "FAIL"} == set()
    assert "snapshot 1, 2 samples" in found[f"store {store}"].found
    assert found[f"store {tmp_path / 'new'}"].found.startswith("nothing there yet")
    assert not (tmp_path / "new").exists(), "looking makes nothing"


def test_what_is_missing_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no store")
    broken = Settings(
        dask="tcp://127.0.0.1:9", prnet_weights=tmp_path / "gone.safetensors", detector_weights=tmp_path / "gone.onnx"
    )
    found = by_name([str(tmp_path / "file")], broken)
    assert {name for name, check in found.items() if check.verdict == "FAIL"} >= {
        "Dask",
        "aligner prnet",
        "detector",
        f"store {tmp_path / 'file'}",
    }
    assert "unset PSEUDODEPTH_DASK" in found["Dask"].remedy
    assert "gone.onnx" in found["detector"].found
