"""Decoding goes on while the networks work: a bounded queue that a thread fills."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class ReadAhead(Generic[T]):
    """Iterates `items` on a thread of its own, at most `limit` bytes ahead (one item always fits).

    A context manager: leaving it ends the thread, also when the items were not used up. An error of the source is
    raised where its item would have come.
    """

    def __init__(self, items: Iterator[T], weigh: Callable[[T], int], limit: int) -> None:
        self._items, self._weigh, self._limit = items, weigh, limit
        self._ready: deque[tuple[T, int]] = deque()
        self._held = 0
        self._ended = self._closed = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)

    def __enter__(self) -> ReadAhead[T]:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        try:
            for item in self._items:
                weight = self._weigh(item)
                with self._changed:
                    while self._held and self._held + weight > self._limit and not self._closed:
                        self._changed.wait()
                    if self._closed:
                        return
                    self._ready.append((item, weight))
                    self._held += weight
                    self._changed.notify_all()
        except BaseException as error:  # handed over to the reading side
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        while True:
            with self._changed:
                while not self._ready and not self._ended:
                    self._changed.wait()
                if not self._ready:
                    break
                item, weight = self._ready.popleft()
                self._held -= weight
                self._changed.notify_all()
            yield item
        if self._error is not None:
            raise self._error
