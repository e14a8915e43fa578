"""Adapters that other packages bring, and published sizes beside a scan."""

import json
import re
import textwrap
import tomllib
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.errors import BuildError
from tasks.sources import SOURCES, Difference, Official, Source, Sources, compare, scan, shared_subjects
from tests.fixtures.datasets import tiny
from tests.fixtures.trees import save

ADAPTER = """
from tasks.sources import Source
from tasks.sources.folder import scan

SOURCE = Source("office-faces", "Faces of our office", scan)
NOT_A_SOURCE = {}
"""


def install(site: Path, package: str, points: dict[str, str], code: str = ADAPTER) -> None:
    """A package as pip leaves it: a module and its metadata."""
    site.mkdir(exist_ok=True)
    (site / f"{package}.py").write_text(textwrap.dedent(code))
    info = site / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[pseudodepth.sources]", *lines, ""]))


def test_an_installed_adapter_is_listed_and_scans_like_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", "office_one", {"office-faces": "office_one:SOURCE"})
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr("tasks.sources.SOURCES", Sources())
    save(tmp_path / "data/train/live/ann/1.jpg")
    found = scan("office-faces", tmp_path / "data")
    assert found.media["subject"].to_pylist() == ["office-faces/ann"]
    with pytest.raises(BuildError, match=r"known are .*celeba-spoof, .*office-faces"):
        scan("nothing", tmp_path)


@pytest.mark.parametrize(
    ("package", "points", "code", "message"),
    [
        (
            "office_a",
            {"office": "office_a:missing"},
            ADAPTER,
            r"office: the source that office_a adds cannot be loaded",
        ),
        ("office_b", {"office": "office_b:SOURCE"}, "import no_such", r"cannot be loaded \(ModuleNotFoundError"),
        (
            "office_c",
            {"office": "office_c:NOT_A_SOURCE"},
            ADAPTER,
            r"office_c:NOT_A_SOURCE of office_c is a dict",
        ),
        ("office_d", {"folder": "office_d:SOURCE"}, ADAPTER, r"folder: both pseudodepth and office_d have a source of"),
    ],
)
def test_an_installed_adapter_that_cannot_be_used_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, points: dict[str, str], code: str, message: str
) -> None:
    install(tmp_path / "site", package, points, code)
    monkeypatch.syspath_prepend(tmp_path / "site")
    with pytest.raises(BuildError, match=message):
        Sources()[next(iter(points))]


def test_two_packages_with_the_same_source_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("office_e", "office_f"):
        install(tmp_path / package, package, {"office": f"{package}:SOURCE"})
        monkeypatch.syspath_prepend(tmp_path / package)
    with pytest.raises(BuildError, match=r"office: office_e, office_f both have a source of this name"):
        Sources()["office"]


def test_every_source_of_our_own_can_be_imported_and_is_called_what_its_key_says() -> None:
    for name in SOURCES:
        assert isinstance(SOURCES[name], Source)
        assert SOURCES[name].name == name


def media(*rows: tuple[str, str, int]) -> pa.Table:
    split, subject, label = zip(*rows, strict=True)
    return pa.table({"split": split, "subject": subject, "label": pa.array(label, pa.int8())})


MEDIA = media(("train", "x/1", 0), ("train", "x/1", 1), ("train", "x/2", 1), ("test", "x/2", 0), ("test", "x/3", 1))


def test_each_published_figure_is_set_beside_what_was_found() -> None:
    official = Official(
        {("train", "live"): 1, ("train", "spoof"): 4, ("dev", "live"): 3, ("test", "all"): 2, ("all", "spoof"): 3},
        "a table",
        {"train": 2, "all": 4},
    )
    assert compare(MEDIA, official) == [
        Difference("train live", 1, 1),
        Difference("train spoof", 4, 2),
        Difference("dev live", 3, 0),
        Difference("test all", 2, 2),
        Difference("all spoof", 3, 3),
        Difference("train subjects", 2, 2),
        Difference("all subjects", 4, 3),
    ]
    assert [difference.share for difference in compare(MEDIA, official)] == [0, 0.5, 1, 0, 0, 0, 0.25]
    assert compare(MEDIA, Official({("all", "all"): 5}, "a table"))[0].found == 5


def test_subjects_of_two_splits_are_found() -> None:
    assert shared_subjects(MEDIA) == {"x/2": ["test", "train"]}
    assert shared_subjects(MEDIA.slice(0, 2)) == {}


def test_the_worked_example_of_the_documentation_works_as_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "sources.md").read_text()
    code, project = (re.search(rf"```{kind}\n(.*?)```", text, re.DOTALL)[1] for kind in ("python", "toml"))
    points = tomllib.loads(project)["project"]["entry-points"]["pseudodepth.sources"]
    install(tmp_path / "site", "lab_faces", points, code)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr("tasks.sources.SOURCES", Sources())
    root = tmp_path / "lab"
    for name in ("day1/live/007-none-1.mp4", "day2/attack/007-tablet-3.mp4", "day2/live/007-paper-1.mp4"):
        tiny(root / name)
    (root / "day1/live/007-none-1.face").write_text("0 1 2 30 40\n")
    found = scan("lab-faces", root)
    rows = [
        (row["path"], row["split"], row["subject"], row["label"], row["attack"], row["attack_detail"], row["session"])
        for row in found.media.to_pylist()
    ]
    assert rows == [
        ("day1/live/007-none-1.mp4", "train", "lab-faces/007", 0, "", "", "day1"),
        ("day2/attack/007-tablet-3.mp4", "test", "lab-faces/007", 1, "replay", "tablet", "day2"),
    ]
    first = json.loads(found.media["extra"][0].as_py())
    assert first == {"take": 1, "track": {"file": "day1/live/007-none-1.face", "fields": "frame x y w h", "bytes": 12}}
    assert found.ignored == [("day2/live/007-paper-1.mp4", "its name says paper, its folder says live")]
    official = Sources()["lab-faces"].official
    assert official is not None
    assert [difference.share for difference in compare(found.media, official)] == [0, 0]
    assert shared_subjects(found.media) == {"lab-faces/007": ["test", "train"]}


def test_every_source_is_in_the_table_of_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text()
    assert set(re.findall(r"^\| [^|]+ \| `([a-z0-9-]+)` \|", text, re.MULTILINE)) == set(SOURCES)
