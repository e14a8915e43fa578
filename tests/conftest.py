"""What several tests share: a loopback S3 server, a shipped model, a folder on a disk."""

import os
import subprocess

import pytest


@pytest.fixture(scope="session")
def _server():
    # one a run, for it takes two seconds to start; a second to import, which most tests need not wait for
    from tests.fixtures.object_store import s3_server

    with s3_server() as server:
        yield server


@pytest.fixture
def s3(_server, tmp_path, monkeypatch):
    """The server, without the faults of an earlier test; the cache is this test's own."""
    monkeypatch.setenv("PSEUDODEPTH_CACHE", str(tmp_path / "cache"))
    _server.faults.clear()
    _server.requests.clear()
    _server.delay = 0.0
    yield _server
    _server.before = lambda method, path: None


@pytest.fixture
def disk(tmp_path):
    """A folder on a disk that takes direct writes; skips where temporary files lie in memory."""
    kind = subprocess.check_output(["stat", "--file-system", "--format=%T", tmp_path], text=True).strip()
    try:
        os.close(os.open(tmp_path / "probe", os.O_CREAT | os.O_WRONLY | os.O_DIRECT))
        taken = kind != "tmpfs"
    except (AttributeError, OSError):
        taken = False
    if not taken:
        pytest.skip(f"{tmp_path} is {kind}, which takes no direct writes: choose a folder on a disk with --basetemp")
    return tmp_path


@pytest.fixture(scope="session")
def shipped(tmp_path_factory):
    """An exported, untrained model; read only."""
    from tests.fixtures.shipped import ship

    return ship(tmp_path_factory.mktemp("untrained"))


@pytest.fixture(scope="session")
def shipped_clips(tmp_path_factory):
    """The same, of clips of three frames, every second of a video."""
    from tests.fixtures.shipped import ship_clips

    return ship_clips(tmp_path_factory.mktemp("untrained_clips"))
