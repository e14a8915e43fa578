"""The local page: its protocol without a browser, and whole in headless Chromium with the film as its camera."""

import asyncio
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from flows.live.watch import Watch
from flows.live.web import LARGEST, create_app, decode, is_loopback
from simulation.film import simulate_film
from tasks.errors import BuildError
from tests.fixtures.photos import ASTRONAUT, photo
from tests.flows.test_cli import call

FRAMES = "ws://127.0.0.1:8765/frames"


def jpeg(image: Image.Image, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=95, **options)
    return stream.getvalue()


@pytest.fixture
def client(predictor):
    return TestClient(create_app(lambda: Watch(predictor)), base_url="http://127.0.0.1:8765")


def test_a_frame_gets_one_answer_that_of_a_watch(client, predictor):
    data = jpeg(Image.fromarray(photo(ASTRONAUT)))
    watch = Watch(predictor)
    with client.websocket_connect(FRAMES) as socket:
        for _ in range(6):
            socket.send_bytes(data)
            assert socket.receive_json() == json.loads(json.dumps(watch.see(decode(data)).to_json()))
        socket.send_bytes(jpeg(Image.new("RGB", (64, 48))))
        assert socket.receive_json()["state"] == "no-face"


def test_connections_share_no_past(client):
    data = jpeg(Image.fromarray(photo(ASTRONAUT)))
    with client.websocket_connect(FRAMES) as one, client.websocket_connect(FRAMES) as other:
        for _ in range(3):
            one.send_bytes(data)
            assert one.receive_json()["box"]
        other.send_bytes(data)
        assert other.receive_json()["fused_frames"] == 1


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (b"no picture", "not a whole JPEG"),
        (jpeg(Image.new("RGB", (64, 64)))[:200], "not a whole JPEG"),
        (jpeg(Image.new("L", (3000, 3000))), "at most 2,073,600 pixels"),
        (b"\xff" * (LARGEST + 1), "at most 2,097,152"),
        ("text", "expected a binary message"),
    ],
    ids=["garbage", "cut off", "many pixels", "large", "text"],
)
def test_a_message_that_is_no_frame_is_answered_and_ends_it(client, message, said):
    with client.websocket_connect(FRAMES) as socket:
        socket.send_text(message) if isinstance(message, str) else socket.send_bytes(message)
        assert said in socket.receive_json()["error"]
        with pytest.raises(WebSocketDisconnect):
            socket.receive_json()


def test_a_png_is_refused_whatever_it_is_called():
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "PNG")
    with pytest.raises(BuildError, match="JPEG"):
        decode(stream.getvalue())


def test_other_sites_and_other_names_are_kept_out(client):
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect(FRAMES, headers={"origin": "http://evil.test"}),
    ):
        pass
    with client.websocket_connect(FRAMES, headers={"origin": "http://127.0.0.1:8765"}):
        pass
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(FRAMES, headers={"host": "evil.test"}):
        pass
    assert client.get("/", headers={"host": "evil.test"}).status_code == 400
    assert client.get("/").headers["cache-control"] == "no-store"
    assert "getUserMedia" in client.get("/live.js").text
    assert client.get("/web.py").status_code == 404


def test_loopback_is_this_machine_alone():
    assert [is_loopback(h) for h in ("127.0.0.1", "::1", "localhost", "127.9.9.9")] == [True] * 4
    assert [is_loopback(h) for h in ("0.0.0.0", "::", "192.168.0.2", "example.org")] == [False] * 4


def test_a_source_or_the_page_but_not_both_nor_neither(shipped, monkeypatch, capsys):
    for words in (["live", "--model", shipped], ["live", "x.mp4", "--web", "--model", shipped]):
        assert call(monkeypatch, *words) == 2
        assert "either a SOURCE" in capsys.readouterr().err


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.slow
@pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium here: the page itself is not tested (apt-get install chromium)"
)
def test_the_page_in_a_browser_whose_camera_is_the_film(shipped, tmp_path):
    camera = tmp_path / "camera.mjpeg"
    simulate_film(camera, seconds=1, rate=10, seed=0)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kept = tmp_path / "kept"  # where the server would leave something, if it did
    kept.mkdir()
    code = "import sys; from flows.cli import main; sys.argv[0] = 'pseudodepth'; main()"
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-c", code, "live", "--web", "--port", str(port), "--model", str(shipped)],
            stderr=log, cwd=kept, env={**os.environ, "TMPDIR": str(kept)},
        )  # fmt: skip
        browser = subprocess.Popen(
            [
                CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={camera}",
                f"--user-data-dir={tmp_path / 'profile'}", "--remote-debugging-port=0", "about:blank",
            ],
            stderr=log, env={**os.environ, "HOME": str(tmp_path)},
        )  # fmt: skip
    try:
        seen = asyncio.run(watch_page(tmp_path / "profile" / "DevToolsActivePort", f"http://127.0.0.1:{port}/"))
        assert {"no face", "hold still ..."} <= seen["states"]
        assert any(text.startswith(("live", "spoof")) for text in seen["states"])
        assert "frames/s" in seen["rate"]
        assert not list(kept.iterdir())  # no frame, and no note of onnxruntime's telemetry
    finally:
        for process in (browser, server):
            process.kill()
            process.wait()


async def watch_page(devtools: Path, url: str) -> dict:
    """Press start, and note what the page says until each kind of state was seen; two minutes at most."""
    import websockets

    deadline = time.monotonic() + 60
    while not devtools.exists() or not answers(url):
        assert time.monotonic() < deadline, "browser or server did not start"
        await asyncio.sleep(0.2)
    port = devtools.read_text().split()[0]
    request = urllib.request.Request(f"http://127.0.0.1:{port}/json/new?{url}", method="PUT")
    target = json.load(urllib.request.urlopen(request))["webSocketDebuggerUrl"]
    async with websockets.connect(target) as page:

        async def evaluate(expression: str) -> str:
            await page.send(json.dumps({"id": 1, "method": "Runtime.evaluate", "params": {"expression": expression}}))
            while (answer := json.loads(await page.recv())).get("id") != 1:
                pass
            return str(answer["result"]["result"].get("value"))

        # the new tab starts as an empty document, which is complete too
        ready = "document.readyState === 'complete' && document.getElementById('start') !== null"
        while await evaluate(ready) != "True":
            await asyncio.sleep(0.1)
        await evaluate("find('start').click()")
        states: set[str] = set()
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            states.add(await evaluate("state.textContent"))
            if {"no face", "hold still ..."} <= states and any(s.startswith(("live", "spoof")) for s in states):
                break
            await asyncio.sleep(0.02)
        return {"states": states, "rate": await evaluate("find('rate').textContent")}


def answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=1).status == 200
    except OSError:
        return False
