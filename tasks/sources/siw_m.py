"""SiW-M (Liu et al., CVPR 2019): `Live/{Train,Test}`, and a folder for each of 13 kinds of attack.

The names say nothing of the people, so each video counts as a subject of its own. Attacks are in no split: protocols
leave one kind out. What is said of the folders comes from users' copies; other copies may differ.
"""

from __future__ import annotations

from tasks.sources.layout import Layout, Meaning, Tokens, by_name, layout_source
from tasks.sources.source import ALL, Official

_FOLDERS = {
    "Paper": ("print", "print"),
    "Replay": ("replay", "replay"),
    "Partial/FunnyeyeGlasses": ("partial", "funny-eye"),
    "Partial/PaperCut": ("partial", "partial-paper"),
    "Partial/PaperGlasses": ("partial", "paper-glasses"),
    "Makeup/Cosmetic": ("makeup", "cosmetic"),
    "Makeup/Impersonation": ("makeup", "impersonation"),
    "Makeup/Obfuscation": ("makeup", "obfuscation"),
    "Mask/HalfMask": ("mask3d", "half-mask"),
    "Mask/MannequinHead": ("mask3d", "mannequin-head"),
    "Mask/PaperMask": ("mask3d", "paper-mask"),
    "Mask/SiliconeMask": ("mask3d", "silicone-mask"),
    "Mask/TransparentMask": ("mask3d", "transparent-mask"),
}


def _meaning(tokens: Tokens) -> Meaning:
    if tokens["split"]:
        return Meaning(tokens["split"].lower(), tokens["stem"])
    return Meaning("train", tokens["stem"], *_FOLDERS[tokens["kind"]])


SOURCE = layout_source(
    "siw-m",
    "SiW-M",
    Layout(
        "SiW-M, attacks in no split (all train)",
        "Mask/HalfMask/Mask_Half_1.mov",
        folders=("Live", "Paper", "Replay", "Partial", "Makeup", "Mask"),
        pattern=rf"(?P<stem>(?:Live/(?P<split>Train|Test)|(?P<kind>{'|'.join(_FOLDERS)}))/[^/]+)\.(?:mov|mp4|avi)",
        rule=by_name(_meaning),
        marks=("Live/Train", "Live/Test"),
    ),
    official=Official({(ALL, "live"): 660, (ALL, "spoof"): 968}, "Yu et al., TPAMI 2022, table of datasets"),
)
