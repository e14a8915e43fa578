"""CASIA-SURF (Zhang et al., CVPR 2019), colour pictures, in its two releases.

The challenge release of 2019 has `Training/{real,fake}_part/CLKJ_XXnnnn/<clip>.rssdk/color/N.jpg`, and in Val/ and
Testing/ pictures whose names say nothing: their labels are in `*_private_list.txt`, where 1 is live. The full release
has the folders of Training for all three splits, and lists (protocol/CASIA_SURF@p1_*) where 0 is live. The attacks are
printed faces with parts cut out: e eyes, n nose, m mouth; flat or bent.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from storage.schema import LIVE, SPOOF
from tasks.sources.layout import Layout, Meaning, Rule, Tokens, layout_source
from tasks.sources.lists import labelled_lines
from tasks.sources.source import Official

_SPLITS = {"Training": "train", "Val": "dev", "Testing": "test"}
_CHALLENGE_LISTS = {"Val": "val_private_list.txt", "Testing": "test_private_list.txt"}
_PROTOCOL = tuple(f"protocol/CASIA_SURF@p1_image_{split}.txt" for split in ("train", "dev", "test"))
_CLIP = (
    r"(?P<split>Training|Val|Testing)/(?P<kind>real|fake)_part/(?P<subject>CLKJ_\w+)/"
    r"(?P<clip>\w+)\.rssdk/color/\d+\.jpg"
)
_OTHER_CAMERAS = "pictures of the depth and the infrared camera"


def _of_clip(tokens: Tokens, labels: dict[str, int]) -> Meaning | str:
    """A picture whose folders say what it is; `labels` only contradicts."""
    live = tokens["clip"] == "real"
    if live != (tokens["kind"] == "real"):
        return f"its clip says {tokens['clip']}, its folder says {tokens['kind']}"
    said = labels.pop(tokens["path"], None)
    if said not in (None, LIVE if live else SPOOF):
        return f"its list says {'live' if said == LIVE else 'spoof'}, its folder says {tokens['kind']}"
    attack = ("", "") if live else ("papercut", tokens["clip"])
    return Meaning(_SPLITS[tokens["split"]], tokens["subject"], *attack, session=tokens["clip"])


def _not_there(labels: dict[str, int]) -> Iterable[tuple[str, str]]:
    return ((path, "listed, but there is no such picture") for path in labels)


def _challenge(root: Path) -> Rule:
    lists = [name for name in ("train_list.txt", *_CHALLENGE_LISTS.values()) if (root / name).is_file()]
    # columns are told by the names in them: users' descriptions of their order differ
    labels = {
        path: label
        for name in lists
        for words, label in labelled_lines(root, name, live="1")
        for path in words
        if "color" in path
    }

    def meaning(tokens: Tokens) -> Meaning | str:
        if not tokens["number"]:
            return _of_clip(tokens, labels)
        name = _CHALLENGE_LISTS[tokens["unnamed"]]
        label = labels.pop(tokens["path"], None)
        if label is None:
            return f"not in {name}" if name in lists else f"its label is in {name}, which is not there"
        attack = ("", "") if label == LIVE else ("papercut", "unknown")
        return Meaning(_SPLITS[tokens["unnamed"]], f"{tokens['unnamed']}/{tokens['number']}", *attack)

    return Rule(
        meaning, f"labels (1 is live) by {', '.join(lists)}" if lists else "no list", lambda: _not_there(labels)
    )


def _full(root: Path) -> Rule:
    lists = [name for name in _PROTOCOL if (root / name).is_file()]
    labels = {
        path.removeprefix("CASIA_SURF/"): label
        for name in lists
        for words, label in labelled_lines(root, name, live="0")
        for path in words
    }
    note = f"checked against {len(lists)} lists (0 is live)" if lists else "no lists"
    return Rule(lambda tokens: _of_clip(tokens, labels), note, lambda: _not_there(labels))


SOURCE = layout_source(
    "casia-surf",
    "CASIA-SURF",
    Layout(
        "CASIA-SURF, challenge release",
        "Training/real_part/CLKJ_AS0005/real.rssdk/color/101.jpg or Val/0000/000000-color.jpg",
        folders=tuple(_SPLITS),
        pattern=rf"{_CLIP}|(?P<unnamed>Val|Testing)/\d+/(?P<number>\d+)-color\.jpg",
        rule=_challenge,
        skip={"depth": _OTHER_CAMERAS, "ir": _OTHER_CAMERAS},
        aside={r".*-(?:depth|ir)\.jpg": _OTHER_CAMERAS},
        marks=("train_list.txt", "val_public_list.txt", "val_private_list.txt", "Val/0000", "Testing/0000"),
    ),
    Layout(
        "CASIA-SURF, full release",
        "Data/Val/fake_part/CLKJ_BS1245/02_e_b.rssdk/color/0017.jpg",
        folders=tuple(f"Data/{split}" for split in _SPLITS),
        pattern=f"Data/{_CLIP}",
        rule=_full,
        skip={"depth": _OTHER_CAMERAS, "ir": _OTHER_CAMERAS},
    ),
    Layout(
        "CASIA-SURF, the Data folder of the full release",
        "Val/fake_part/CLKJ_BS1245/02_e_b.rssdk/color/0017.jpg",
        folders=tuple(_SPLITS),
        pattern=_CLIP,
        rule=lambda root: Rule(lambda tokens: _of_clip(tokens, {})),
        skip={"depth": _OTHER_CAMERAS, "ir": _OTHER_CAMERAS},
        marks=tuple(f"{split}/{kind}_part" for split in _SPLITS for kind in ("real", "fake")),
    ),
    official=Official(
        {
            ("train", "live"): 8_942,
            ("train", "spoof"): 20_324,
            ("dev", "live"): 2_994,
            ("dev", "spoof"): 6_614,
            ("test", "live"): 17_458,
            ("test", "spoof"): 40_252,
        },
        "the full release's readme: pictures of one camera",
        {"train": 300, "dev": 100, "test": 600},
    ),
)
