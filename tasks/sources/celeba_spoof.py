"""CelebA-Spoof (Zhang et al., ECCV 2020): `Data/{train,test}/<subject>/{live,spoof}/NNNNNN.{jpg,png}`.

Labels come from `metas/intra_test/{train,test}_label.json` (44 integers a picture: 40 face attributes, spoof type,
illumination, environment, label) and, for a split without that file, from the folders. The name of the json decides the
split, since its keys may begin with the other split's path. A picture's face box is beside it, in `NNNNNN_BB.txt`.
Which of the lists of the cross-domain protocols (metas/protocol1, metas/protocol2) name a picture is in its extra data.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby, islice
from pathlib import Path

from storage.schema import LIVE, SPOOF
from tasks.errors import BuildError
from tasks.sources.media import File, MediaTable, Scan, check_root, check_splits, names_in, read_heads, walk
from tasks.sources.source import ALL, Official, Source

SPLITS = ("train", "test")
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
_METAS = "metas/intra_test"
_PROTOCOLS = tuple(f"{protocol}/{split}" for protocol in ("protocol1", "protocol2") for split in SPLITS)
_BOX_FRAME = (224.0, 224.0)
_LABELS = {"live": LIVE, "spoof": SPOOF}
# spoof type -> the common word, the dataset's own word (code 0 is live)
_TYPES = {
    1: ("print", "photo"),
    2: ("print", "poster"),
    3: ("print", "a4"),
    4: ("papercut", "face-mask"),
    5: ("papercut", "upper-body-mask"),
    6: ("papercut", "region-mask"),
    7: ("replay", "pc"),
    8: ("replay", "pad"),
    9: ("replay", "phone"),
    10: ("mask3d", "3d-mask"),
}
_ILLUMINATIONS = ("live", "normal", "strong", "back", "dark")
_ENVIRONMENTS = ("live", "indoor", "outdoor")
# fmt: off
ATTRIBUTES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose",
    "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses",
    "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes",
    "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks", "Sideburns", "Smiling",
    "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace",
    "Wearing_Necktie", "Young",
)
# fmt: on


def scan(root: Path, dataset: str = "celeba-spoof") -> Scan:
    """List CelebA-Spoof below `root`. Raises BuildError for a wrong root, a broken json or an empty split."""
    check_root(
        dataset, root, "Data/train and Data/test", lambda path: any((path / "Data" / s).is_dir() for s in SPLITS)
    )
    ignored: list[tuple[str, str]] = []
    labels, listed = _read_labels(root, ignored)
    protocols = _read_protocols(root)
    media = MediaTable(dataset)
    for file, box in _with_boxes(root, _pictures(root, ignored)):
        entry = labels.pop(file.path, None)
        _, folder_split, subject, kind_folder, _ = file.path.split("/")
        label = _LABELS[kind_folder]
        if entry is None:
            if folder_split in listed:
                ignored.append((file.path, f"not listed in {_METAS}"))
                continue
            split, codes = folder_split, None
        else:
            split, codes = entry
        if codes is not None and codes[43] != label:
            ignored.append((file.path, f"{_METAS} says label {codes[43]}, its folder says {kind_folder}"))
            continue
        attack, detail = ("", "") if label == LIVE else _attack(codes)
        media.add(
            file,
            split=split,
            subject=subject,
            label=label,
            kind="image",
            attack=attack,
            attack_detail=detail,
            box=box,
            box_frame=_BOX_FRAME if box else None,
            extra=_extra(codes, protocols.get(file.path, 0)),
        )
    ignored += [
        (path, f"listed in {_METAS}/{split}_label.json, but there is no such file")
        for path, (split, _) in labels.items()
    ]
    expected = [split for split in SPLITS if split in listed or (root / "Data" / split).is_dir()]
    check_splits(dataset, root, expected, media.counts, "Data/<split>/<subject>/{live,spoof}/*.{jpg,png}")
    found = [f"{split} by {_METAS if split in listed else 'folder'}" for split in expected]
    return Scan(dataset, root, media.table(), sorted(ignored), f"CelebA-Spoof, {', '.join(found)}")


def _read_labels(root: Path, ignored: list[tuple[str, str]]) -> tuple[dict[str, tuple[str, bytes]], set[str]]:
    """Path -> (split, 44 codes) of the json files that are there, and the splits that have one."""
    labels: dict[str, tuple[str, bytes]] = {}
    listed = set()
    for split in SPLITS:
        file = root / _METAS / f"{split}_label.json"
        if not file.exists():
            continue
        entries = _read_json(file)
        listed.add(split)
        for path, codes in entries.items():
            try:
                if min(codes) < 0:  # CelebA's own attributes are 1 and -1
                    codes = [max(code, 0) for code in codes[:40]] + codes[40:]
                packed = bytes(codes)  # 44 small integers; 77 bytes instead of a list's 400
            except (TypeError, ValueError):
                packed = b""
            if len(packed) != 44:
                ignored.append((path, f"its entry in {file.name} is not 44 small integers"))
                continue
            if path in labels:  # keep a leaked picture out of training
                ignored.append((path, "listed in both train_label.json and test_label.json; taken as test only"))
            labels[path] = (split, packed)
    return labels, listed


def _read_json(file: Path) -> dict[str, list[int]]:
    try:
        entries = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise BuildError(f"{file}: not a readable json ({error}); unpack it again") from error
    if not isinstance(entries, dict):
        raise BuildError(f"{file}: expected one object, path -> 44 integers, found a {type(entries).__name__}")
    return entries


def _read_protocols(root: Path) -> dict[str, int]:
    """Path -> which of _PROTOCOLS name it, as bits: a million paths share a few small integers."""
    named: dict[str, int] = {}
    for bit, name in enumerate(_PROTOCOLS):
        file = root / "metas" / f"{name}_label.json"
        if file.exists():
            for path in _read_json(file):
                named[path] = named.get(path, 0) | 1 << bit
    return named


def _pictures(root: Path, ignored: list[tuple[str, str]]) -> Iterator[tuple[File, File | None]]:
    """Each picture with its `_BB.txt`, if it has one; all else goes to `ignored`."""
    strays = sorted(set(names_in(root / "Data")) - set(SPLITS))  # the release ships a stray train_2
    ignored += [(f"Data/{name}", "not one of the dataset's two splits") for name in strays]
    for split in SPLITS:
        if not (root / "Data" / split).is_dir():
            continue
        for folder, files in groupby(walk(root, ("Data", split), ignored), key=lambda file: file.folder):
            yield from _folder_pictures(folder, list(files), ignored)


def _folder_pictures(
    folder: str, files: list[File], ignored: list[tuple[str, str]]
) -> Iterator[tuple[File, File | None]]:
    in_place = folder.count("/") == 3 and folder.rpartition("/")[2] in _LABELS
    boxes = {file.name: file for file in files if file.name.endswith("_BB.txt")}
    for file in files:
        name = file.name
        if name in boxes:
            continue
        if not in_place or name.startswith("."):
            ignored.append((file.path, "not at Data/<split>/<subject>/{live,spoof}/<picture>"))
        elif file.suffix not in _SUFFIXES:
            ignored.append((file.path, "not a .jpg or .png"))
        else:
            yield file, boxes.get(os.path.splitext(name)[0] + "_BB.txt")


def _with_boxes(
    root: Path, pictures: Iterator[tuple[File, File | None]]
) -> Iterator[tuple[File, tuple[float, float, float, float] | None]]:
    """Each picture with its box; many files are read at a time, for of a remote dataset each is a request."""
    while some := list(islice(pictures, 1_000)):
        heads = iter(read_heads(root, [box for _, box in some if box], 256))
        for file, box in some:
            yield file, _box(next(heads)) if box else None


def _box(text: bytes) -> tuple[float, float, float, float] | None:
    """The box in a `_BB.txt` (`x y w h score` on a 224 x 224 grid) as x1, y1, x2, y2; None if it holds none.

    Some of the released files are empty, some have negative corners (kept: the face leaves the picture there), and some
    have fractions.
    """
    try:
        x, y, width, height = (float(token) for token in text.split()[:4])
    except ValueError:
        return None
    if not (width > 0 and height > 0 and math.isfinite(x + y + width + height)):
        return None
    return x, y, x + width, y + height


def _attack(codes: bytes | None) -> tuple[str, str]:
    if codes is None:
        return "other", "unknown"
    return _TYPES.get(codes[40], ("other", f"type-{codes[40]}"))


@lru_cache(maxsize=65_536)
def _extra(codes: bytes | None, named: int) -> str:
    """As JSON: names of the face attributes that are set, illumination, environment, and the lists that name it."""
    extra: dict[str, object] = {}
    if codes:
        extra["attributes"] = [name for name, code in zip(ATTRIBUTES, codes, strict=False) if code]
        for key, names, code in (
            ("illumination", _ILLUMINATIONS, codes[41]),
            ("environment", _ENVIRONMENTS, codes[42]),
        ):
            extra[key] = names[code] if code < len(names) else f"code-{code}"
    if named:
        extra["lists"] = [name for bit, name in enumerate(_PROTOCOLS) if named >> bit & 1]
    return json.dumps(extra)


SOURCE = Source(
    "celeba-spoof",
    "CelebA-Spoof",
    scan,
    Official(
        {("train", ALL): 494_405, ("test", ALL): 67_170},
        "counted on the release by its users: github.com/ZhangYuanhan-AI/CelebA-Spoof, issues 3 and 38",
    ),
)
