"""What the steps log in a Dask worker, carried back to the flow, so that it stands in Prefect with its shard's name."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

PACKAGES = ("tasks", "storage", "prnet")
MOST = 200  # lines a shard: a log is no list of rejects


class Line(NamedTuple):
    """One log line: its level, as of `logging`, and its text."""

    level: int
    text: str


class _Collector(logging.Handler):
    def __init__(self, context: str) -> None:
        super().__init__(logging.INFO)
        self.context = context
        self.lines: list[Line] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.lines) < MOST:
            self.lines.append(Line(record.levelno, f"{self.context}: {record.getMessage()}"))


@contextmanager
def captured(context: str) -> Iterator[list[Line]]:
    """Yield the list that fills with what the project's own packages log inside, each line led by `context`."""
    collector = _Collector(context)
    loggers = [logging.getLogger(name) for name in PACKAGES]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(collector)
        logger.setLevel(logging.INFO)
    try:
        yield collector.lines
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.removeHandler(collector)
            logger.setLevel(level)
