"""What can go wrong in a build: three errors, told apart by what happens next.

A `MediumError` ends one file (it becomes a reject row and the run goes on), a `BuildError` ends the run with one line,
and `Stopped` ends it because somebody asked for that.
"""

from __future__ import annotations

from typing import Literal

Reason = Literal[
    "truncated",
    "not-an-image",
    "empty-file",
    "too-large",
    "unreadable",
    "missing",
    "worker-died",
    "no-face",
    "align-failed",
    "low-quality",
    "too-small",
    "no-frames",
    "too-short",
    "bad-box",
]


class BuildError(ValueError):
    """The build cannot run as asked: a wrong root, a wrong option, missing weights. The message says what to do."""


class MediumError(BuildError):
    """One file, or one frame of it, cannot become samples.

    `reason` is a short stable word for tables, `detail` a sentence for people.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[MediumError], tuple[Reason, str]]:
        # the default would call __init__ with the joined message only, which breaks on the way back from a worker
        return (MediumError, (self.reason, self.detail))


class Stopped(BuildError):
    """The build was asked to stop; nothing of the shard in progress was left behind."""
