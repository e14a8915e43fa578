"""Progress where there is no terminal: a line now and then, and one at the end."""

import pytest

from flows import progress


@pytest.mark.parametrize(("every", "lines"), [(0.0, 3), (1e9, 1)])
def test_the_end_is_told_once(
    every: float, lines: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "PLAIN_EVERY_SECONDS", every)
    with progress.progress_line("build", 0, "media") as advance:
        for note in ("", "", "1 rejects"):
            advance(2, note, total=6)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == lines
    assert said[-1].startswith("build: 6/6 media, ")
    assert said[-1].endswith(" 1 rejects")
    assert sum("6/6" in line for line in said) == 1
