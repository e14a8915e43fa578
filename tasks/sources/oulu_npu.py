"""OULU-NPU (Boulkenafet et al., FG 2017): `{Train,Dev,Test}_files/P_S_UU_F.avi`, eyes in the text file beside each.

P is the phone, S the session (lighting and background), UU the user, F the file: 1 live, 2 and 3 print, 4 and 5 a
display. The subjects of the three folders are 1-20, 21-35 and 36-55, so a user's number is unique.
"""

from __future__ import annotations

from tasks.sources.layout import Layout, Meaning, Tokens, Track, by_name, layout_source
from tasks.sources.source import Official

_SPLITS = {"Train": "train", "Dev": "dev", "Test": "test"}
_FILES = {
    "1": ("", ""),
    "2": ("print", "print1"),
    "3": ("print", "print2"),
    "4": ("replay", "display1"),
    "5": ("replay", "display2"),
}


def _meaning(tokens: Tokens) -> Meaning:
    attack, detail = _FILES[tokens["file"]]
    return Meaning(
        _SPLITS[tokens["split"]],
        tokens["user"],
        attack,
        detail,
        session=tokens["session"],
        extra={
            "phone": int(tokens["phone"]),
            "device": f"phone-{tokens['phone']}",
            "illumination": f"session-{tokens['session']}",
        },
    )


SOURCE = layout_source(
    "oulu-npu",
    "OULU-NPU",
    Layout(
        "OULU-NPU",
        "Train_files/1_1_01_1.avi",
        folders=("Train_files", "Dev_files", "Test_files"),
        pattern=r"(?P<stem>(?P<split>Train|Dev|Test)_files/"
        r"(?P<phone>[1-6])_(?P<session>[1-3])_(?P<user>\d\d)_(?P<file>[1-5]))\.(?:avi|mp4)",
        rule=by_name(_meaning),
        # the first pair is the subject's right eye, which is the left one in the picture
        track=Track("frame rx ry lx ly", at=("{stem}.txt",)),
    ),
    official=Official(
        {
            ("train", "live"): 360,
            ("train", "spoof"): 1440,
            ("dev", "live"): 270,
            ("dev", "spoof"): 1080,
            ("test", "live"): 360,
            ("test", "spoof"): 1440,
        },
        "the released videos: 4,950, as the dataset's protocols list them",
        {"train": 20, "dev": 15, "test": 20},
    ),
)
