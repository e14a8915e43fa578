"""CASIA-SURF CeFA (Liu et al., WACV 2021), colour pictures: `Ethnicity/AF/AF-120/1_120_3_2_2/color/0001.jpg`.

A clip is named Race_ID_Acquisition_Session_Attack. The protocols split by ethnicity and attack as well; the people are
split 200 / 100 / 200 within each ethnicity, and that is the split here. The challenge copy calls the folder of the
colour pictures `profile`, and its labels are in lists, `4@1_train.txt` and so on, in which 1 is live.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from storage.schema import LIVE
from tasks.errors import BuildError
from tasks.sources.layout import Layout, Meaning, Rule, Tokens, by_name, layout_source
from tasks.sources.lists import labelled_lines

_RACES = {"1": "AF", "2": "CA", "3": "EA"}
_ATTACKS = {"1": ("", ""), "2": ("print", "cloth"), "3": ("print", "photo"), "4": ("replay", "screen")}
_SESSIONS = {"1": "indoor", "2": "outdoor", "3": "random"}
_ACQUISITIONS = {"1": "rssdk", "2": "mp4", "3": "bag", "4": "mov"}
_FIRST_DEV, _FIRST_TEST = 200, 300  # of the people 0-499 of each ethnicity
_CLIP = r"(?P<race>[123])_(?P<person>\d{3})_(?P<acquisition>[1-4])_(?P<session>[123])_(?P<attack>[1-4])"
_LISTS = {"train": "train", "dev": "dev_ref", "test": "test_res"}
_OTHER_CAMERAS = "pictures of the depth and the infrared camera"


def _of_clip(tokens: Tokens) -> Meaning:
    number = int(tokens["person"])
    return Meaning(
        "train" if number < _FIRST_DEV else "dev" if number < _FIRST_TEST else "test",
        f"{_RACES[tokens['race']]}-{tokens['person']}",
        *_ATTACKS[tokens["attack"]],
        session=tokens["clip"],
        extra={
            "device": _ACQUISITIONS[tokens["acquisition"]],
            "environment": _SESSIONS[tokens["session"]],
            "ethnicity": _RACES[tokens["race"]],
        },
    )


def _meaning(tokens: Tokens) -> Meaning:
    if tokens["mask"]:
        detail = "silicone-mask" if tokens["mask"] == "Silicone" else "3d-mask"
        return Meaning("test", f"{detail}-{tokens['wearer']}", "mask3d", detail, session=tokens["mask_clip"])
    return _of_clip(tokens)


def _challenge(root: Path) -> Rule:
    """Clips by the lists: the split of the first protocol that names one, all that do in `lists`."""
    labels: dict[str, int] = {}
    lists_of: dict[str, list[str]] = {}
    found: set[str] = set()
    for protocol in ("4@1", "4@2", "4@3"):
        for split, suffix in _LISTS.items():
            name = f"{protocol}_{suffix}.txt"
            if not (root / name).is_file():
                continue
            for (path, *_), label in labelled_lines(root, name, live="1"):
                clip = path.partition("/profile")[0].rstrip("/")  # training lists name pictures, the others folders
                if labels.setdefault(clip, label) != label:
                    raise BuildError(f"{root / name}: {clip} has another label here than in an earlier list")
                entry = f"{protocol}/{split}"
                if entry not in lists_of.setdefault(clip, []):
                    lists_of[clip].append(entry)

    def meaning(tokens: Tokens) -> Meaning | str:
        clip = tokens["folder"]
        if clip not in labels:
            return "its clip is in none of the lists 4@{1,2,3}_{train,dev_ref,test_res}.txt"
        found.add(clip)
        live = labels[clip] == LIVE
        known = _of_clip(tokens) if tokens["race"] else None
        if known and live != (not known.attack):
            return f"its list says {'live' if live else 'spoof'}, its name says {known.detail or 'live'}"
        attack = ("", "") if live else (known.attack, known.detail) if known else ("other", "unknown")
        split = lists_of[clip][0].partition("/")[2]
        extra = {**(known.extra if known else {}), "lists": lists_of[clip]}
        return Meaning(split, known.subject if known else clip, *attack, session=tokens["clip"], extra=extra)

    def missing() -> Iterable[tuple[str, str]]:
        return ((clip, "listed, but there is no such clip") for clip in labels.keys() - found)

    return Rule(meaning, "labels (1 is live) by its lists", missing)


SOURCE = layout_source(
    "cefa",
    "CASIA-SURF CeFA",
    Layout(
        "CeFA, people 0-199 train, 200-299 dev, 300-499 test",
        "Ethnicity/AF/AF-120/1_120_3_2_2/color/0001.jpg",
        folders=("Ethnicity", "Mask"),
        pattern=rf"(?:Ethnicity/(?:AF|CA|EA)/\w+-\d+/(?P<clip>{_CLIP})|"
        r"Mask/(?P<mask>3D|Silicone)-Mask/(?P<wearer>\d+)/(?P<mask_clip>[\d_]+))/(?:color|profile)/\d+\.(?:jpg|png)",
        rule=by_name(_meaning),
        skip={"depth": _OTHER_CAMERAS, "ir": _OTHER_CAMERAS},
    ),
    Layout(
        "CeFA, challenge copy",
        "train/1_120_3_2_2/profile/0001.jpg",
        folders=("train", "dev", "test", "phase1", "phase2"),
        pattern=rf"(?P<folder>.+/(?P<clip>{_CLIP}|[^/]+))/profile/\d+\.(?:jpg|png)",
        rule=_challenge,
        skip={"depth": _OTHER_CAMERAS, "ir": _OTHER_CAMERAS},
        marks=tuple(f"4@{n}_{suffix}.txt" for n in (1, 2, 3) for suffix in _LISTS.values()),
    ),
)
