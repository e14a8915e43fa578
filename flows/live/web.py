"""A page on this machine: the browser's camera → WebSocket → sight. No frame is kept, on disk or in memory.

Protocol of `/frames`: the browser sends one JPEG a message and waits for its answer, so nothing queues: what the camera
showed meanwhile is never sent. The answer is `Sight.to_json()`. A message that is no such JPEG is answered with
{"error": ...} and ends the connection. Each connection has its own `Watch`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import numpy as np
from PIL import Image, UnidentifiedImageError

from flows.live.watch import Sight, Watch
from tasks.errors import BuildError
from tasks.read import Frame

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.websockets import WebSocket

LARGEST: Final = 2 << 20  # bytes of a message
_PIXELS = 1920 * 1080
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src 'self'; "
    "frame-ancestors 'none'",
    "Permissions-Policy": "camera=(self)",
    "X-Content-Type-Options": "nosniff",
}
_FILES = {"/": ("page.html", "text/html"), "/live.js": ("live.js", "text/javascript")}
_BAD_DATA, _NOT_ALLOWED = 1003, 1008


def is_loopback(host: str) -> bool:
    """Is `host` (a name or an address to listen on) this machine alone?"""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def create_app(new_watch: Callable[[], Watch], hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "::1")) -> Starlette:
    """The page and its WebSocket. hosts: names that a browser may call this machine by; `*` allows all of them.

    Other names are refused, since a foreign name may be pointed at this machine; and so are other sites' pages.
    """
    from anyio import CapacityLimiter, to_thread
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import FileResponse
    from starlette.routing import Route, WebSocketRoute
    from starlette.websockets import WebSocketDisconnect

    one = CapacityLimiter(1)  # the model serves one thread

    async def page(request: Request) -> Response:
        name, kind = _FILES[request.url.path]
        return FileResponse(Path(__file__).parent / name, media_type=kind, headers=_HEADERS)

    async def frames(socket: WebSocket) -> None:
        origin = socket.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != socket.headers.get("host"):
            await socket.close(_NOT_ALLOWED)
            return
        await socket.accept()
        watch = new_watch()
        try:
            while True:
                data = await socket.receive_bytes()
                try:
                    sight = await to_thread.run_sync(_see, watch, data, limiter=one)
                except BuildError as error:
                    await socket.send_json({"error": str(error)})
                    await socket.close(_BAD_DATA)
                    return
                await socket.send_json(sight.to_json())
        except WebSocketDisconnect:
            pass
        except KeyError:  # a text message: Starlette looks for its bytes
            await socket.send_json({"error": "expected a binary message, one JPEG"})
            await socket.close(_BAD_DATA)

    return Starlette(
        routes=[*(Route(path, page) for path in _FILES), WebSocketRoute("/frames", frames)],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)],
    )


def decode(data: bytes) -> Frame:
    """A message's JPEG as (H, W, 3) uint8 RGB; raises BuildError for anything else, or more than 1920 x 1080."""
    if len(data) > LARGEST:
        raise BuildError(f"a frame of {len(data):,} bytes; at most {LARGEST:,}")
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            if image.width * image.height > _PIXELS:
                raise BuildError(f"a frame of {image.width} x {image.height} pixels; at most {_PIXELS:,} pixels")
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise BuildError("not a whole JPEG; expected one a message") from error


def _see(watch: Watch, data: bytes) -> Sight:
    return watch.see(decode(data))


def serve(new_watch: Callable[[], Watch], host: str, port: int) -> None:
    """Serve until Ctrl-C. On a host that is not loopback everybody in reach can use it, under any name."""
    import uvicorn

    app = create_app(new_watch) if is_loopback(host) else create_app(new_watch, ("*",))
    uvicorn.run(
        app, host=host, port=port, ws_max_size=LARGEST, ws_max_queue=1, limit_concurrency=32, log_level="warning",
        server_header=False,
    )  # fmt: skip
