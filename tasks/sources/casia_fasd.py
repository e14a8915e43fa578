"""CASIA-FASD, also CASIA-MFSD (Zhang et al., ICB 2012): `{train,test}_release/N/{1..8,HR_1..HR_4}.avi`.

The folders of the subjects start again at 1 in test_release, for other people; so a subject is `train_N` or `test_N`.
There is no dev split. bob's `.face` files, which some copies have in face-locations/, are read where they are.
"""

from __future__ import annotations

from tasks.sources.layout import Layout, Meaning, Tokens, Track, by_name, layout_source
from tasks.sources.source import Official

_KINDS = (("", ""), ("print", "warped-photo"), ("papercut", "cut-photo"), ("replay", "video"))
# stem -> attack, detail, quality: three videos of each kind, of normal, low and high quality
_CLIPS = {
    stem: (*kind, quality)
    for number, kind in enumerate(_KINDS)
    for stem, quality in (
        (str(2 * number + 1), "normal"),
        (str(2 * number + 2), "low"),
        (f"HR_{number + 1}", "high"),
    )
}


def _meaning(tokens: Tokens) -> Meaning:
    attack, detail, quality = _CLIPS[tokens["clip"]]
    return Meaning(
        tokens["split"],
        f"{tokens['split']}_{tokens['subject']}",
        attack,
        detail,
        session=quality,
        extra={"quality": quality},
    )


SOURCE = layout_source(
    "casia-fasd",
    "CASIA-FASD",
    Layout(
        "CASIA-FASD",
        "train_release/1/HR_1.avi",
        folders=("train_release", "test_release"),
        pattern=r"(?P<stem>(?P<split>train|test)_release/(?P<subject>\d+)/(?P<clip>[1-8]|HR_[1-4]))\.avi",
        rule=by_name(_meaning),
        track=Track("frame x y w h", at=("face-locations/{stem}.face", "{stem}.face"), folder="face-locations"),
    ),
    official=Official(
        {("train", "live"): 60, ("train", "spoof"): 180, ("test", "live"): 90, ("test", "spoof"): 270},
        "the paper: 600 videos, twelve of each of 50 subjects",
        {"train": 20, "test": 30},
    ),
)
