"""The process that flows/api.py starts: Prefect's API at a socket that is open already.

It is given the number of that socket, `python temporary_server.py 5`, and ends when its standard input does.
"""

import gc
import os
import signal
import sys
import threading


def serve(socket: int) -> None:
    """Serve until told to stop, or until whoever started this process is gone."""
    gc.set_threshold(100_000, 50, 50)  # what is imported is no garbage: a seventh of the CPU time of the start
    threading.Thread(target=_end_with_parent, daemon=True).start()

    import uvicorn

    app = "prefect.server.api.server:create_app"
    uvicorn.run(app, factory=True, fd=socket, log_level="error", lifespan="on")


def _end_with_parent() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
