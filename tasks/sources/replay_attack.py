"""Replay-Attack (Chingovska et al., BIOSIG 2012): `{train,devel,test}/{real,attack/{fixed,hand}}/*.mov`.

The four archives may have been unpacked into one folder or into folders of their own (`replayattack-train/...`).
Faces are in `face-locations/`, at the video's own path; not every frame has one. The enrolment videos are left out.
"""

from __future__ import annotations

from tasks.sources.layout import Layout, Meaning, Tokens, Track, by_name, layout_source
from tasks.sources.source import Official

_SPLITS = {"train": "train", "devel": "dev", "test": "test"}
_ATTACKS = {"print": "print", "mobile": "replay", "highdef": "replay"}
_LIVE = r"real/client(?P<live>\d{3})_(?P<live_session>session\d\d)_webcam_authenticate_(?P<live_light>\w+?)_\d"
_ATTACK = (
    r"att(?:ac)?k/(?P<support>fixed|hand)/attack_(?P<device>print|mobile|highdef)_client(?P<spoof>\d{3})_"
    r"(?P<spoof_session>session\d\d)_(?P<sample>highdef|mobile)_(?P<medium>photo|video)_(?P<spoof_light>\w+)"
)


def _meaning(tokens: Tokens) -> Meaning:
    split = _SPLITS[tokens["split"]]
    if tokens["live"]:
        extra = {"device": "webcam", "illumination": tokens["live_light"]}
        return Meaning(split, f"client{tokens['live']}", session=tokens["live_session"], extra=extra)
    return Meaning(
        split,
        f"client{tokens['spoof']}",
        _ATTACKS[tokens["device"]],
        f"{tokens['device']}-{tokens['medium']}",
        session=tokens["spoof_session"],
        extra={
            "device": "webcam",
            "illumination": tokens["spoof_light"],
            "support": tokens["support"],
            "sample": tokens["sample"],
        },
    )


def _layout(name: str, example: str, folders: tuple[str, ...], prefix: str, marks: tuple[str, ...]) -> Layout:
    return Layout(
        name,
        example,
        folders=folders,
        pattern=rf"{prefix}(?P<stem>(?P<split>train|devel|test)/(?:{_LIVE}|{_ATTACK}))\.mov",
        rule=by_name(_meaning),
        track=Track("frame x y w h", at=("face-locations/{stem}.face", "{stem}.face"), folder="face-locations"),
        skip={"enroll": "enrolment videos, which no protocol of liveness uses"},
        marks=marks,
    )


SOURCE = layout_source(
    "replay-attack",
    "Replay-Attack",
    _layout(
        "Replay-Attack in one folder",
        "train/real/client001_session01_webcam_authenticate_adverse_1.mov",
        ("train", "devel", "test"),
        "",
        tuple(f"{split}/{kind}" for split in _SPLITS for kind in ("real", "attack", "attk")),
    ),
    _layout(
        "Replay-Attack, a folder for each archive",
        "replayattack-train/train/real/client001_session01_webcam_authenticate_adverse_1.mov",
        ("replayattack-train", "replayattack-devel", "replayattack-test"),
        "replayattack-(?:train|devel|test)/",
        (),
    ),
    official=Official(
        {
            ("train", "live"): 60,
            ("train", "spoof"): 300,
            ("dev", "live"): 60,
            ("dev", "spoof"): 300,
            ("test", "live"): 80,
            ("test", "spoof"): 400,
        },
        "the dataset's page: 1,200 videos without enrolment, 50 clients",
        {"train": 15, "dev": 15, "test": 20},
    ),
)
