"""WMCA (George et al., TIFS 2019): `face-station/DD.MM.YY/CLIENT_SESSION_PRESENTER_TYPE_PAI.hdf5`.

The split is in a csv (`,client_id,filepath,group,label`, the first column has no name). A subject is the client, which
for an attack is the instrument: the presenters overlap all three groups. Types and instruments follow the dataset's
leave-one-out lists; photos 3_05, 3_10 and 3_15 are shown on screens.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from tasks.errors import BuildError
from tasks.sources.layout import Layout, Meaning, Rule, Tokens, layout_source
from tasks.sources.media import names_in, read_text
from tasks.sources.source import ALL, Official

_GROUPS = {"train": "train", "dev": "dev", "eval": "test"}
_COLUMNS = {"client_id", "filepath", "group", "label"}


def _attack(kind: int, instrument: int) -> tuple[str, str]:
    if kind == 0:
        return "", ""
    if kind == 1:
        if instrument in (2, 13, 14):
            return "mask3d", "rigid-mask"
        return "partial", "glasses" if instrument in (1, 4, 5, 6, 7, 15, 16) else "facial-disguise"
    if kind == 2:
        if instrument <= 7:
            return "mask3d", "fake-head"
        return "mask3d", "paper-mask" if instrument <= 11 else "rigid-mask" if instrument <= 17 else "flexible-mask"
    if kind == 3:
        return ("replay", "electronic-photo") if instrument in (5, 10, 15) else ("print", "photo")
    return {4: ("replay", "video"), 5: ("makeup", "makeup")}[kind]


def _rule(root: Path) -> Rule:
    lists = [name for name in names_in(root) if name.endswith(".csv") and _header(root, name) >= _COLUMNS]
    if len(lists) > 1:
        raise BuildError(
            f"{root}: {', '.join(lists)} all look like the list of a protocol; leave one, such as grandtest"
        )
    split_of: dict[str, tuple[str, bool]] = {}  # date/name -> split, live
    for row in csv.DictReader(read_text(root, lists[0]).splitlines()) if lists else ():
        if row["group"] not in _GROUPS or row["label"] not in ("bonafide", "attack"):
            raise BuildError(f"{root / lists[0]}: unknown group {row['group']!r} or label {row['label']!r}")
        key = "/".join(row["filepath"].removesuffix(".hdf5").split("/")[-2:])
        split_of[key] = (_GROUPS[row["group"]], row["label"] == "bonafide")
    found: set[str] = set()

    def meaning(tokens: Tokens) -> Meaning | str:
        key = f"{tokens['date']}/{tokens['name']}"
        found.add(key)
        attack, detail = _attack(int(tokens["type"]), int(tokens["instrument"]))
        split, live = split_of.get(key, ("train", not attack))
        if lists and key not in split_of:
            return f"not in {lists[0]}"
        if live != (not attack):
            return f"{lists[0]} says {'bonafide' if live else 'attack'}, its name says {detail or 'bonafide'}"
        extra = {
            "presenter": tokens["presenter"],
            "instrument": f"{int(tokens['type'])}_{int(tokens['instrument']):02}",
        }
        return Meaning(split, tokens["client"], attack, detail, session=tokens["session"], extra=extra)

    def missing() -> Iterable[tuple[str, str]]:
        return ((key, f"in {lists[0]}, but there is no such recording") for key in split_of.keys() - found)

    return Rule(meaning, f"split by {lists[0]}" if lists else "no csv of a protocol: all train", missing)


def _header(root: Path, name: str) -> set[str]:
    return set(read_text(root, name).partition("\n")[0].strip().split(","))


def _layout(name: str, folder: str) -> Layout:
    return Layout(
        name,
        f"{folder}/17.01.18/514_01_035_1_05.hdf5",
        folders=(folder,),
        pattern=rf"{folder}/(?:.+/)?(?P<date>\d\d\.\d\d\.\d\d)/(?P<name>(?P<client>\d{{3}})_(?P<session>\d\d)_"
        r"(?P<presenter>\d{3})_(?P<type>[0-5])_(?P<instrument>\d\d))\.hdf5",
        rule=_rule,
    )


SOURCE = layout_source(
    "wmca",
    "WMCA",
    _layout("WMCA, preprocessed colour", "preprocessed-face-station_RGB"),
    _layout("WMCA", "face-station"),
    official=Official(
        {
            (ALL, "live"): 347,
            (ALL, "spoof"): 1332,
            ("train", ALL): 565,
            ("dev", ALL): 557,
            ("test", ALL): 557,
        },
        "counted in the released grandtest list",
    ),
)
