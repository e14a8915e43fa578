"""What the README and the docs tell people to type and to open exists."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from flows.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "prnet/weights/README.md"]
COMMAND: Any = typer.main.get_command(app)


def typed(page: Path) -> tuple[list[str], list[str]]:
    """Lines of a page's code blocks that begin with `pseudodepth`, and such commands inside its sentences."""
    text = page.read_text().replace("\\\n", " ")
    fenced = "\n".join(re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL))
    lines = re.findall(r"^pseudodepth .*", fenced, re.MULTILINE)
    lines += re.findall(r"^ {4}(pseudodepth .*)", text, re.MULTILINE)
    return lines, re.findall(r"(?<!`)`(pseudodepth [^`]*)`", text)


def check(line: str, *, whole: bool) -> None:
    """Assert that the command line takes `line`, without running it; if not `whole`, that it knows its options."""
    words = shlex.split(line, comments=True)[1:]
    words = words[: words.index("&")] if "&" in words else words
    command, name = COMMAND, "pseudodepth"
    while hasattr(command, "commands") and words:
        name, *words = words
        assert name in command.commands, f"{line}: no command {name!r}"
        command = command.commands[name]
    if whole and not any("…" in word or word.startswith("[") for word in words):
        try:
            command.make_context(name, list(words))
        except Exception as error:  # Typer carries its own copy of click's exceptions
            raise AssertionError(f"{line}: {error}") from error
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    unknown = {word for word in words if re.match(r"--?[a-z]", word)} - known - {"--help"}
    assert not unknown, f"{line}: no options {unknown}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_is_one_that_the_command_line_takes(page: Path) -> None:
    blocks, sentences = typed(page)
    for line in blocks:
        check(line, whole=True)
    for line in sentences:
        check(line, whole=False)


def anchors(page: Path) -> set[str]:
    """Ids of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_and_every_file_that_is_named_is_there(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        linked = page.parent / file if file else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target
    folders = "benchmarks|deploy|docs|flows|liveness|prnet|simulation|storage|tasks|tests|training"
    for named in re.findall(rf"(?<![\w/.-])((?:{folders})/[\w/.-]*\.(?:py|yaml|md))\b", text):
        assert (ROOT / named).exists(), named


def test_the_readme_leads_to_every_page() -> None:
    linked = set(re.findall(r"\]\(([^)#\s]+\.md)", (ROOT / "README.md").read_text()))
    assert linked >= {page.relative_to(ROOT).as_posix() for page in PAGES[1:]}


def test_every_benchmark_is_named_in_the_docs() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    programs = [path for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text()]
    assert programs
    assert [
        path.name for path in programs if f"`{path.name}" not in text and f"benchmarks/{path.name}" not in text
    ] == []
