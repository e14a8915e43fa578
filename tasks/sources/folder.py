"""Anyone's own data: `<root>/{train,dev,test}/{live,spoof/<attack>}/**`, pictures and videos.

Below `live` or `spoof/<attack>` a first folder names the subject and deeper ones the session; a file without a subject
folder counts as a subject of its own.
"""

from __future__ import annotations

from pathlib import Path

from storage.schema import LIVE, SPOOF
from tasks.sources.media import (
    ATTACKS,
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    MediaTable,
    Scan,
    check_root,
    check_splits,
    names_in,
    walk,
)
from tasks.sources.source import Source

SPLITS = ("train", "dev", "test")
_SYNONYMS = {
    "paper": "print",
    "photo": "print",
    "screen": "replay",
    "display": "replay",
    "video": "replay",
    "paper-cut": "papercut",
    "paper_cut": "papercut",
    "mask": "mask3d",
    "3dmask": "mask3d",
    "3d-mask": "mask3d",
    "3d_mask": "mask3d",
    "make-up": "makeup",
}


def scan(root: Path, dataset: str = "folder") -> Scan:
    """List the media below `root`. Raises BuildError for a wrong root or an empty split."""
    check_root(dataset, root, "train, dev or test with live/ and spoof/<attack>/ in them", _looks_right)
    present = [split for split in SPLITS if (root / split).is_dir()]
    media = MediaTable(dataset)
    ignored = [(name, "not train, dev or test") for name in sorted(set(names_in(root)) - set(present))]
    for split in present:
        for file in walk(root, (split,), ignored):
            kind = "image" if file.suffix in IMAGE_SUFFIXES else "video" if file.suffix in VIDEO_SUFFIXES else ""
            below = file.path.split("/")[1:-1]
            if file.name.startswith("."):
                ignored.append((file.path, "hidden file"))
            elif not kind:
                ignored.append((file.path, "neither a picture nor a video by its ending"))
            elif not below or below[0] not in ("live", "spoof"):
                ignored.append((file.path, "not below live/ or spoof/"))
            else:
                live = below[0] == "live"
                detail = "" if live else below[1] if len(below) > 1 else "unknown"
                folders = below[1:] if live else below[2:]
                media.add(
                    file,
                    split=split,
                    subject=folders[0] if folders else file.path,
                    session="/".join(folders[1:]),
                    label=LIVE if live else SPOOF,
                    kind=kind,
                    attack="" if live else attack_word(detail),
                    attack_detail=detail,
                )
    check_splits(dataset, root, present, media.counts, "pictures and videos below live/ and spoof/<attack>/")
    return Scan(dataset, root, media.table(), sorted(ignored), f"folders {', '.join(present)}")


def _looks_right(path: Path) -> bool:
    return any((path / split / kind).is_dir() for split in SPLITS for kind in ("live", "spoof"))


def attack_word(name: str) -> str:
    """The word of ATTACKS for what people call an attack; `other` for what is none of them."""
    word = _SYNONYMS.get(name.lower(), name.lower())
    return word if word in ATTACKS else "other"


SOURCE = Source("folder", "folders of your own", scan)
