"""MSU-MFSD (Wen et al., TIFS 2015): `scene01/{real,attack}/..._clientNNN_{android,laptop}_SD_..._scene01.{mp4,mov}`.

Two lists of subjects beside scene01/ make the split; they have CRLF line ends, two-digit numbers (the files' names have
three) and no final newline. There is no dev split. Six videos are known to be upside-down.
"""

from __future__ import annotations

from pathlib import Path

from tasks.errors import BuildError
from tasks.sources.layout import Layout, Meaning, Rule, Tokens, Track, layout_source
from tasks.sources.media import read_text
from tasks.sources.source import Official

_LISTS = {"train": "train_sub_list.txt", "test": "test_sub_list.txt"}
_MEDIA = {
    "ipad_video": ("replay", "ipad-video"),
    "iphone_video": ("replay", "iphone-video"),
    "printed_photo": ("print", "printed-photo"),
}
_UPSIDE_DOWN = frozenset({3, 5, 6, 7, 8, 9})  # real_clientNNN_android_SD_scene01


def _rule(root: Path) -> Rule:
    split_of: dict[int, str] = {}
    for split, name in _LISTS.items():
        try:
            clients = [int(token) for token in read_text(root, name).split()]
        except ValueError as error:
            raise BuildError(f"{root / name}: expected one subject number a line ({error})") from error
        both = [client for client in clients if split_of.get(client, split) != split]
        if both:
            raise BuildError(f"{root / name}: subject {both[0]} is in {_LISTS['train']} as well")
        split_of |= dict.fromkeys(clients, split)

    def meaning(tokens: Tokens) -> Meaning | str:
        client = int(tokens["client"])
        if client not in split_of:
            return f"subject {client} is in neither {' nor '.join(_LISTS.values())}"
        if (tokens["kind"] == "attack") != bool(tokens["medium"]):
            return "an attack is named after its medium, a real video is not"
        attack, detail = _MEDIA[tokens["medium"]] if tokens["medium"] else ("", "")
        extra: dict[str, object] = {"device": tokens["device"]}
        if not attack and tokens["device"] == "android" and client in _UPSIDE_DOWN:
            extra["turns"] = [0, 180]  # whether a decoder turns them itself differs, so both are tried
        return Meaning(split_of[client], f"client{tokens['client']}", attack, detail, session="scene01", extra=extra)

    return Rule(meaning, "split by its two lists")


SOURCE = layout_source(
    "msu-mfsd",
    "MSU-MFSD",
    Layout(
        "MSU-MFSD",
        "scene01/real/real_client002_laptop_SD_scene01.mov",
        folders=("scene01",),
        pattern=r"(?P<stem>scene01/(?P<kind>real|attack)/(?P=kind)_client(?P<client>\d{3})_(?P<device>android|laptop)_SD"
        r"(?:_(?P<medium>ipad_video|iphone_video|printed_photo))?_scene01)\.(?:mp4|mov)",
        rule=_rule,
        track=Track("frame x1 y1 x2 y2 lx ly rx ry", at=("{stem}.face",)),
    ),
    official=Official(
        {("train", "live"): 30, ("train", "spoof"): 90, ("test", "live"): 40, ("test", "spoof"): 120},
        "counted in the released lists: 280 videos of 35 subjects",
        {"train": 15, "test": 20},
    ),
)
