"""One progress line: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[..., None]
PLAIN_EVERY_SECONDS = 10.0


@contextmanager
def progress_line(title: str, total: int, unit: str) -> Iterator[Advance]:
    """Yield `advance(count, note="")`, which may be called from any thread.

    Args:
        title: what is being done.
        total: how many units make it complete.
        unit: what is counted, in the plural.
    """
    show = _bar if sys.stderr.isatty() else _lines
    with show(title, total, unit) as advance:
        yield advance


@contextmanager
def _bar(title: str, total: int, unit: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total, note="")
        yield lambda count=1, note=None: bar.update(task, advance=count, **({} if note is None else {"note": note}))


@contextmanager
def _lines(title: str, total: int, unit: str) -> Iterator[Advance]:
    started = shown = time.monotonic()
    done, last_note = 0, ""

    def line() -> None:
        rate = done / max(time.monotonic() - started, 1e-9)
        print(f"{title}: {done}/{total} {unit}, {rate:.1f}/s {last_note}".rstrip(), file=sys.stderr, flush=True)

    def advance(count: int = 1, note: str | None = None) -> None:
        nonlocal done, shown, last_note
        done += count
        last_note = last_note if note is None else note
        if time.monotonic() - shown >= PLAIN_EVERY_SECONDS:
            shown = time.monotonic()
            line()

    yield advance
    line()
