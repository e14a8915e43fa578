"""The table adapter: a CSV or Parquet file makes any collection a dataset."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.errors import BuildError
from tasks.sources import Scan, scan
from tests.fixtures.datasets import tiny
from tests.fixtures.trees import save

HEADER = "path,label,attack,subject,split,session,x1,y1,x2,y2,camera"
CSV = f"""{HEADER}
a/1.jpg,live,,ann,train,monday,10,20,110.5,140,phone
a\\2.mp4,Spoof,paper,ann,train,,,,,,
./b/3.png,1,hologram,007,test,,,,,,"web, cam"
b/gone.jpg,0,,,dev,,,,,,
a/1.jpg,live,,ann,train,,,,,,
notes.txt,live,,,,,,,,,
"""


def tree(root: Path, text: str = CSV) -> Path:
    save(root / "a/1.jpg")
    tiny(root / "a/2.mp4")
    save(root / "b/3.png")
    save(root / "b/4.png")
    (root / "notes.txt").write_text("x")
    (root / "media.csv").write_text(text)
    return root


def rows(found: Scan) -> dict[str, tuple]:
    names = ("split", "subject", "label", "attack", "attack_detail", "session", "kind", "box")
    return {row["path"]: (*(row[name] for name in names), json.loads(row["extra"])) for row in found.media.to_pylist()}


BOX = (("x", 1, 10), ("y", 1, 20), ("x", 2, 110.5), ("y", 2, 140))
EXPECTED = {
    "a/1.jpg": ("train", "table/ann", 0, "", "", "monday", "image", [10, 20, 110.5, 140], {"camera": "phone"}),
    "a/2.mp4": ("train", "table/ann", 1, "print", "paper", "", "video", None, {}),
    "b/3.png": ("test", "table/007", 1, "other", "hologram", "", "image", None, {"camera": "web, cam"}),
}


def test_each_row_with_a_file_is_a_medium(tmp_path: Path) -> None:
    found = scan("table", tree(tmp_path))
    assert rows(found) == EXPECTED
    assert found.ignored == [
        ("a/1.jpg", "row 5 of the table: no such file, or named before"),
        ("b/4.png", "not in media.csv"),
        ("b/gone.jpg", "row 4 of the table: no such file, or named before"),
        ("notes.txt", "neither a picture nor a video by its ending"),
    ]
    assert found.root == tmp_path
    assert found.layout == "media.csv, 3 rows with a file"
    assert scan("table", tmp_path / "media.csv").media.equals(found.media)


def test_a_parquet_file_says_the_same(tmp_path: Path) -> None:
    root = tree(tmp_path)
    (root / "media.csv").unlink()
    columns = {
        "path": ["a/1.jpg", "a/2.mp4", "b/3.png"],
        "label": [0, 1, 1],
        "attack": [None, "paper", "hologram"],
        "subject": ["ann", "ann", "007"],
        "split": [None, "train", "test"],
        "session": ["monday", None, ""],
        "camera": ["phone", None, "web, cam"],
        **{
            name: [value, float("nan"), None]
            for name, value in zip(("x1", "y1", "x2", "y2"), (10, 20, 110.5, 140), strict=True)
        },
    }
    pq.write_table(pa.table(columns), root / "media.parquet")
    assert rows(scan("table", root)) == EXPECTED


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a/1.jpg,alive,,,,,,,,,", r"row 1: label 'alive', expected live or spoof \(0 or 1\)"),
        ("a/1.jpg,2,,,,,,,,,", r"row 1: label '2'"),
        ("a/1.jpg,live,,,val,,,,,,", r"row 1: split 'val', expected one of train, dev, test"),
        ("a/1.jpg,live,print,,,,,,,,", r"row 1: it is live, and has the attack 'print'"),
        ("a/1.jpg,live,,,,,1,2,3,,", r"row 1: x1, y1, x2, y2 are \['1', '2', '3', None\], expected four numbers"),
        ("a/1.jpg,live,,,,,1,2,3,x,", r"expected four numbers or none"),
        ("../a/1.jpg,live,,,,,,,,,", r"row 1: path '../a/1.jpg' is not below the table's folder"),
        ("/a/1.jpg,live,,,,,,,,,", r"is not below the table's folder"),
        ("C:/a/1.jpg,live,,,,,,,,,", r"is not below the table's folder"),
        ("a/9.jpg,live,,,,,,,,,", r"none of the files that .*media.csv names is below"),
        ("a/1.jpg,live", r"media.csv: cannot be read as a table \(CSV parse error: .*Expected 11 columns, got 2"),
    ],
)
def test_a_row_that_cannot_be_right_is_named(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(BuildError, match=message):
        scan("table", tree(tmp_path, f"{HEADER}\n{row}\n"))


def test_a_table_that_is_not_one_is_named_with_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"media.csv: no column label; it has path, lable"):
        scan("table", tree(tmp_path, "path,lable\na/1.jpg,live\n"))
    with pytest.raises(BuildError, match=r"columns may not be called track, turns, turned; it has path, label, track"):
        scan("table", tree(tmp_path, "path,label,track\na/1.jpg,live,x\n"))
    (tmp_path / "other.csv").write_text("x")
    with pytest.raises(BuildError, match=r"should hold one CSV or Parquet file, there are media.csv, other.csv;"):
        scan("table", tmp_path)
    with pytest.raises(BuildError, match=r"should hold one CSV or Parquet file, there is none"):
        scan("table", tmp_path / "a")
    with pytest.raises(BuildError, match=r"nothing is no CSV or Parquet file, and no folder with one in it"):
        scan("table", tmp_path / "nothing")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(BuildError, match=r"bad.parquet: cannot be read as a table"):
        scan("table", tmp_path / "bad.parquet")
