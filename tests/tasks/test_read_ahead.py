"""Reading ahead: in order, bounded, and over when the reader leaves."""

import threading
import time
from collections.abc import Iterator

import pytest

from tasks.read_ahead import ReadAhead


def test_items_come_in_order_and_the_thread_ends() -> None:
    with ReadAhead(iter(range(100)), lambda item: 1, limit=7) as items:
        assert list(items) == list(range(100))
    assert not [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


def test_no_more_than_the_limit_is_held() -> None:
    made: list[int] = []

    def source() -> Iterator[int]:
        for item in range(50):
            made.append(item)
            yield item

    with ReadAhead(source(), lambda item: 10, limit=35) as items:
        for taken, item in enumerate(items):
            time.sleep(0.002)
            assert item == taken
            assert len(made) <= taken + 1 + 3 + 1  # taken, three waiting (30 <= 35), one in the thread's hand


def test_an_item_above_the_limit_still_passes() -> None:
    with ReadAhead(iter([100, 200]), lambda item: item, limit=1) as items:
        assert list(items) == [100, 200]


def test_an_error_of_the_source_comes_after_the_items_before_it() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    with ReadAhead(source(), lambda item: 1, limit=9) as ahead:
        items = iter(ahead)
        assert next(items) == 1
        with pytest.raises(OSError, match="gone"):
            next(items)


def test_leaving_early_ends_a_thread_that_waits() -> None:
    with ReadAhead(iter(range(1000)), lambda item: 1, limit=2) as items:
        assert next(iter(items)) == 0
    assert not [thread for thread in threading.enumerate() if thread.name == "read-ahead"]
