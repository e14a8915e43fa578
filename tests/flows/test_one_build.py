"""Two builds of one store wait for each other on a server that both know, and for nobody else."""

import threading
import time

import pytest

from flows.one_build import one_build


def test_builds_of_one_store_take_turns_and_those_of_others_do_not_wait(prefect_server: None) -> None:
    events: list[str] = []
    inside, leave = threading.Event(), threading.Event()

    def first() -> None:
        with one_build("/stores/a"):
            events.append("first in")
            inside.set()
            assert leave.wait(60)
            events.append("first out")

    def second() -> None:
        with one_build("/stores/a"):
            events.append("second in")

    def another() -> None:
        with one_build("/stores/b"):
            events.append("other in")

    threads = [threading.Thread(target=first)]
    threads[0].start()
    assert inside.wait(60)
    threads += [threading.Thread(target=second), threading.Thread(target=another)]
    for thread in threads[1:]:
        thread.start()
    threads[2].join(60)
    time.sleep(2)
    assert events == ["first in", "other in"]
    leave.set()
    for thread in threads:
        thread.join(90)
    assert events == ["first in", "other in", "first out", "second in"]


def test_a_place_is_free_again_after_an_error(prefect_server: None) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"), one_build("/stores/c"):
            raise ValueError("broken")
