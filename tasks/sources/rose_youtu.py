"""Rose-Youtu (Li et al., TIFS 2018): `{train,test}/N/L_S_D_x_E_p_N.mp4`; some copies have `_N` as the folder.

L is the label, S whether the person talks, D the phone, x glasses, E the surroundings, p the person. There is no dev
split. How a video is turned depends on phone and label, and on the decoder, so the turns that occur are tried.
"""

from __future__ import annotations

from tasks.sources.layout import Layout, Meaning, Tokens, by_name, layout_source
from tasks.sources.source import ALL, Official

_LABELS = {
    "G": ("", ""),
    "Ps": ("print", "still"),
    "Pq": ("print", "quivering"),
    "Vl": ("replay", "lenovo"),
    "Vm": ("replay", "mac"),
    "Mc": ("papercut", "mask-cropped"),
    "Mf": ("papercut", "mask-full"),
    "Mu": ("papercut", "mask-upper"),
    "Ml": ("papercut", "mask-lower"),  # in the dataset's description; not seen in copies
}
_DEVICES = {"HS": "hasee", "HW": "huawei", "IP": "ipad", "5s": "iphone-5s", "ZTE": "zte"}


def _meaning(tokens: Tokens) -> Meaning:
    attack, detail = _LABELS[tokens["label"]]
    extra = {
        "device": _DEVICES[tokens["device"]],
        "talking": tokens["talking"] == "T",
        "glasses": tokens["glasses"] == "g",
        "environment": tokens["environment"],
    }
    if attack != "replay":
        extra["turns"] = [0, 90, 270]
    elif tokens["device"] in ("HS", "HW", "ZTE"):
        extra["turns"] = [0, 180]
    return Meaning(tokens["split"], tokens["person"], attack, detail, extra=extra)


SOURCE = layout_source(
    "rose-youtu",
    "Rose-Youtu",
    Layout(
        "Rose-Youtu",
        "train/2/G_NT_5s_g_E_2_1.mp4",
        folders=("train", "test"),
        pattern=rf"(?P<split>train|test)/_?\d+/(?P<label>{'|'.join(_LABELS)})_(?P<talking>T|NT)_"
        rf"(?P<device>{'|'.join(_DEVICES)})_(?P<glasses>g|wg)_(?P<environment>[^_/]+)_(?P<person>\d+)_\d+\.mp4",
        rule=by_name(_meaning),
    ),
    official=Official(
        {(ALL, "live"): 500, (ALL, "spoof"): 2850},
        "Yu et al., TPAMI 2022, table of datasets: the public part",
        {ALL: 20},
    ),
)
