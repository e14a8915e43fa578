"""One progress line: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

PLAIN_EVERY_SECONDS = 10.0


class Advance(Protocol):
    """Moves a progress line on; may be called from any thread."""

    def __call__(self, count: int, note: str | None = None, total: int | None = None) -> None:
        """`count` more units are done; `note` replaces the figures at the end, `total` corrects what makes it whole."""


@contextmanager
def progress_line(title: str, total: int, unit: str) -> Iterator[Advance]:
    """Show how much of `total` units (named in the plural) is done; yields what moves it on."""
    show = _bar if sys.stderr.isatty() else _lines
    with show(title, total, unit) as advance:
        yield advance


@contextmanager
def _bar(title: str, total: int, unit: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total, note="")

        def advance(count: int, note: str | None = None, total: int | None = None) -> None:
            if note is not None:
                bar.update(task, note=note)
            bar.update(task, advance=count, total=total)

        yield advance


@contextmanager
def _lines(title: str, total: int, unit: str) -> Iterator[Advance]:
    started = shown = time.monotonic()
    done, figures, whole = 0, "", total
    said = None

    def line() -> None:
        nonlocal said
        if said == (done, figures):  # the last step has just been told
            return
        said = done, figures
        rate = done / max(time.monotonic() - started, 1e-9)
        left = f", {(whole - done) / rate:.0f} s left" if 0 < done < whole else ""
        print(f"{title}: {done}/{whole} {unit}, {rate:.1f}/s{left} {figures}".rstrip(), file=sys.stderr, flush=True)

    def advance(count: int, note: str | None = None, total: int | None = None) -> None:
        nonlocal done, shown, figures, whole
        done += count
        figures = figures if note is None else note
        whole = whole if total is None else total
        if time.monotonic() - shown >= PLAIN_EVERY_SECONDS:
            shown = time.monotonic()
            line()

    yield advance
    line()
