"""3DMAD (Erdogmus and Marcel, BTAS 2013): `session0{1,2,3}/Data/CC_SS_NN.hdf5`, colour and depth of a Kinect.

Sessions 1 and 2 are live, in session 3 the clients wear another client's mask. The split is bob's: clients 1-7, 8-12
and 13-17.
"""

from __future__ import annotations

from tasks.sources.layout import Layout, Meaning, Tokens, by_name, layout_source
from tasks.sources.source import ALL, Official

_FIRST_DEV, _FIRST_TEST = 8, 13


def _meaning(tokens: Tokens) -> Meaning | str:
    if int(tokens["folder"]) != int(tokens["session"]):
        return f"its name says session {tokens['session']}, its folder says {tokens['folder']}"
    client = int(tokens["client"])
    attack = ("mask3d", "mask") if int(tokens["session"]) == 3 else ("", "")
    return Meaning(
        "train" if client < _FIRST_DEV else "dev" if client < _FIRST_TEST else "test",
        tokens["client"],
        *attack,
        session=tokens["session"],
        extra={"device": "kinect"},
    )


SOURCE = layout_source(
    "3dmad",
    "3DMAD",
    Layout(
        "3DMAD, clients 1-7 train, 8-12 dev, 13-17 test",
        "session01/Data/04_01_05.hdf5",
        folders=("session01", "session02", "session03"),
        pattern=r"session(?P<folder>\d\d)/Data/(?P<client>\d\d)_(?P<session>0[123])_\d\d\.hdf5",
        rule=by_name(_meaning),
    ),
    official=Official({(ALL, "live"): 170, (ALL, "spoof"): 85}, "the dataset's page: 255 videos", {ALL: 17}),
)
