"""SiW-Mv2 (Guo et al., ECCV 2022): `Live/Live_N.mov` and `Spoof/<kind>/<Stem>_N.{mov,mp4,avi}`, 14 kinds of attack.

A folder's name and its files' prefix differ. The names say nothing of the people, so each video counts as a subject of
its own. The splits are lists of bare stems (pro_3_text/ of the authors' code), in which stems repeat on purpose, to
balance classes; some videos are in no list, and some listed ones were never released.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tasks.sources.layout import Layout, Meaning, Rule, Tokens, layout_source
from tasks.sources.media import read_text
from tasks.sources.source import ALL, Official

_FOLDERS = {  # folder -> prefix of its files, attack, detail
    "Paper": ("Paper", "print", "print"),
    "Print": ("Paper", "print", "print"),  # so called in the authors' description
    "Replay": ("Replay", "replay", "replay"),
    "Partial_FunnyeyeGlasses": ("Partial_Funnyeye", "partial", "funny-eye"),
    "Partial_PaperGlasses": ("Partial_Paperglass", "partial", "paper-glasses"),
    "Partial_Eye": ("Partial_Eye", "partial", "partial-eye"),
    "Partial_Mouth": ("Partial_Mouth", "partial", "partial-mouth"),
    "Makeup_Cosmetic": ("Makeup_Co", "makeup", "cosmetic"),
    "Makeup_Impersonation": ("Makeup_Im", "makeup", "impersonation"),
    "Makeup_Obfuscation": ("Makeup_Ob", "makeup", "obfuscation"),
    "Mask_HalfMask": ("Mask_Half", "mask3d", "half-mask"),
    "Mask_TransparentMask": ("Mask_Trans", "mask3d", "transparent-mask"),
    "Mask_PaperMask": ("Mask_Paper", "mask3d", "paper-mask"),
    "Mannequin": ("Mask_Mann", "mask3d", "mannequin-head"),
    "Silicone": ("Mask_Silicone", "mask3d", "silicone-mask"),
}
_PREFIXES = {prefix for prefix, _, _ in _FOLDERS.values()}
_LIST_FOLDERS = ("pro_3_text", "source_SiW_Mv2/pro_3_text", "protocols", ".")
_TRAIN, _TEST = ("trainlist_all", "trainlist_live"), ("testlist_all", "testlist_live")
_MORE = (
    *("train_A_pretrain", "train_B_spoof", "train_C_race", "train_D_age", "train_E_ill"),
    *("test_A_pretrain", "test_B_spoof", "test_C_race", "test_D_age", "test_E_ill"),
)


def _rule(root: Path) -> Rule:
    place = next((f for f in _LIST_FOLDERS if (root / f / f"{_TRAIN[0]}.txt").is_file()), None)
    lists_of: dict[str, list[str]] = {}  # stem -> the lists that name it
    if place is not None:
        optional = [name for name in _MORE if (root / place / f"{name}.txt").is_file()]
        for name in (*_TRAIN, *_TEST, *optional):
            for stem in dict.fromkeys(read_text(root, f"{place}/{name}.txt").split()):
                lists_of.setdefault(stem, []).append(name)
    found: set[str] = set()

    def meaning(tokens: Tokens) -> Meaning | str:
        prefix, attack, detail = _FOLDERS[tokens["kind"]] if tokens["kind"] else ("Live", "", "")
        if tokens["prefix"] != prefix and tokens["prefix"] in _PREFIXES | {"Live"}:
            return f"its name says {tokens['prefix']}, its folder is of {prefix}"
        stem = f"{tokens['prefix']}_{tokens['number']}"
        found.add(stem)
        lists = lists_of.get(stem, [])
        split = "test" if set(lists) & set(_TEST) else "train"
        return Meaning(split, stem, attack, detail, extra={"lists": lists} if lists else {})

    def missing() -> Iterable[tuple[str, str]]:
        return (
            (stem, f"listed in {lists_of[stem][0]}.txt, but there is no such video") for stem in lists_of.keys() - found
        )

    if place is None:
        return Rule(meaning, f"no lists in {_LIST_FOLDERS[0]}/: all train")
    return Rule(meaning, f"split by the lists in {place}/, what is in none is train", missing)


SOURCE = layout_source(
    "siw-mv2",
    "SiW-Mv2",
    Layout(
        "SiW-Mv2",
        "Spoof/Makeup_Cosmetic/Makeup_Co_5.mp4",
        folders=("Live", "Spoof"),
        pattern=rf"(?:Live|Spoof/(?P<kind>{'|'.join(_FOLDERS)}))/(?P<prefix>[A-Za-z_]+)_(?P<number>\d+)\.(?:mov|mp4|avi)",
        rule=_rule,
        marks=("Spoof",),
    ),
    official=Official({(ALL, "live"): 785, (ALL, "spoof"): 915}, "the dataset's README: 1,700 videos"),
)
