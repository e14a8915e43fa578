"""Watch a source to its end: newest frame in, sight out, to whoever wants to see it.

source → Newest (drops what comes while it is busy) → Watch → decision → overlay → window, film
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from flows.live.overlay import draw
from flows.live.source import CAMERA_RATE, Newest, Shot, shots
from flows.live.watch import Sight, State, Watch
from flows.live.window import Window
from tasks.write_video import write_video

_RECENT = 30  # frames that the shown rate is of
_REMEMBERED = 100_000  # latencies: an hour at 30 frames a second; a camera may run for months


@dataclass
class Tally:
    """What a run came to. latency: ms from a frame's `taken` to its decision, of the last frames that were seen."""

    states: Counter[State] = field(default_factory=Counter)
    latency: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    dropped: int = 0
    seconds: float = 0.0

    @property
    def seen(self) -> int:
        """Frames judged."""
        return self.states.total()

    def line(self) -> str:
        """In one line."""
        if not self.seen:
            return "no frame was seen"
        median, high = np.percentile(self.latency, [50, 95])
        states = ", ".join(f"{count:,} {state}" for state, count in self.states.most_common())
        return (
            f"{self.seen:,} frames in {self.seconds:.1f} s ({self.seen / max(self.seconds, 1e-9):.1f} a second), "
            f"{self.dropped:,} dropped; from frame to decision {median:.0f} ms (median), {high:.0f} ms (95 %): {states}"
        )


Tell = Callable[[Shot, Sight, float, int], None]  # the decision's latency in ms, frames dropped so far


def run(
    source: str,
    watch: Watch,
    *,
    every_frame: bool = False,
    show: bool = False,
    out: Path | None = None,
    tell: Tell | None = None,
) -> Tally:
    """Watch `source` until it ends, its window is closed or Ctrl-C; returns what it came to.

    every_frame: judge all frames of a file or folder as fast as it goes, and drop none. out: film of what was seen,
    with the overlay, each frame at its time. Raises BuildError for a source, window or film that cannot be had.
    """
    tally = Tally()
    started = time.perf_counter()
    with ExitStack() as stack:
        window = stack.enter_context(Window(f"pseudodepth live {source}")) if show else None
        write = stack.enter_context(write_video(out, CAMERA_RATE)) if out else None
        frames = stack.enter_context(_frames(source, every_frame))
        recent: deque[float] = deque(maxlen=_RECENT)
        try:
            for shot in frames:
                sight = watch.see(shot.image)
                decided = time.perf_counter()
                latency = (decided - shot.taken) * 1000
                recent.append(decided)
                tally.states[sight.state] += 1
                tally.latency.append(latency)
                tally.dropped = getattr(frames, "dropped", 0)
                if tell:
                    tell(shot, sight, latency, tally.dropped)
                if window or write:
                    rate = (len(recent) - 1) / max(recent[-1] - recent[0], 1e-9)
                    image = draw(shot.image, sight, f"{rate:.0f} frames/s   {latency:.0f} ms")
                    if write:
                        write(image, shot.seconds)
                    if window:
                        window.show(image)
                        if window.closed:
                            break
        except KeyboardInterrupt:  # how a camera is switched off: the film so far is kept
            pass
        tally.seconds = time.perf_counter() - started
    return tally


@contextmanager
def _frames(source: str, every_frame: bool) -> Iterator[Newest | Iterator[Shot]]:
    if every_frame:
        yield shots(source, paced=False)
    else:
        with Newest(shots(source)) as newest:
            yield newest
