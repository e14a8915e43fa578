"""LCC-FASD (Timoshenko et al., 2019): `LCC_FASD_{training,development,evaluation}/{real,spoof}/*.{png,jpg}`.

In some copies the evaluation part is flat, with `real_` and `spoof_` before the names. The pictures name no people, so
each counts as a subject of its own, and do not say what an attack was made with.
"""

from __future__ import annotations

from tasks.sources.layout import Layout, Meaning, Tokens, by_name, layout_source

_SPLITS = {"training": "train", "development": "dev", "evaluation": "test"}


def _meaning(tokens: Tokens) -> Meaning:
    spoof = (tokens["folder"] or tokens["prefix"]) == "spoof"
    return Meaning(_SPLITS[tokens["split"]], tokens["path"], *(("other", "unknown") if spoof else ()))


SOURCE = layout_source(
    "lcc-fasd",
    "LCC-FASD",
    Layout(
        "LCC-FASD",
        "LCC_FASD_training/real/real_1.png",
        folders=tuple(f"LCC_FASD_{split}" for split in _SPLITS),
        pattern=r"LCC_FASD_(?P<split>training|development|evaluation)/"
        r"(?:(?P<folder>real|spoof)/[^/]+|(?P<prefix>real|spoof)_[^/]+)\.(?i:png|jpe?g)",
        rule=by_name(_meaning),
    ),
)
