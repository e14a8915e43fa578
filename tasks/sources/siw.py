"""SiW, Spoof in the Wild (Liu et al., CVPR 2018): `{Train,Test}/{live,spoof}/SSS/SSS-Sen-Type-Med-Ses.mov`.

The official page writes underscores in the names, the files have hyphens; sixteen live test videos end in `.m.mov`. A
`.face` file beside a video has one line a frame. There is no dev split.
"""

from __future__ import annotations

from tasks.sources.layout import Layout, Meaning, Tokens, Track, by_name, layout_source
from tasks.sources.source import ALL, Official

_TYPES = {"1": ("live", "", ""), "2": ("spoof", "print", "print-"), "3": ("spoof", "replay", "replay-")}


def _meaning(tokens: Tokens) -> Meaning | str:
    folder, attack, prefix = _TYPES[tokens["type"]]
    if folder != tokens["kind"]:
        return f"its name says {folder}, its folder says {tokens['kind']}"
    if tokens["subject"] != tokens["folder"]:
        return f"its name says subject {tokens['subject']}, its folder says {tokens['folder']}"
    return Meaning(
        tokens["split"].lower(),
        tokens["subject"],
        attack,
        f"{prefix}{tokens['medium']}" if attack else "",
        session=tokens["session"],
        extra={"device": f"sensor-{tokens['sensor']}", "medium": int(tokens["medium"])},
    )


SOURCE = layout_source(
    "siw",
    "SiW",
    Layout(
        "SiW",
        "Train/live/003/003-1-1-1-1.mov",
        folders=("Train", "Test"),
        pattern=r"(?P<stem>(?P<split>Train|Test)/(?P<kind>live|spoof)/(?P<folder>\d{3})/"
        r"(?P<subject>\d{3})[-_](?P<sensor>\d)[-_](?P<type>[1-3])[-_](?P<medium>\d)[-_](?P<session>\d))(?:\.m)?\.mov",
        rule=by_name(_meaning),
        track=Track("x1 y1 x2 y2", at=("{stem}.face", "{stem}.m.face")),
        marks=("Train/live", "Train/spoof", "Test/live", "Test/spoof"),
    ),
    official=Official(
        {
            (ALL, ALL): 4478,
            ("train", "live"): 714,
            ("train", "spoof"): 1702,
            ("test", "live"): 599,
            ("test", "spoof"): 1454,
        },
        "the dataset's page (4,478 videos, 165 subjects); by label as counted in the lists of bob.db.siw (4,469)",
        {"train": 90, "test": 75},
    ),
)
