"""The datasets of pictures, and those whose labels or splits are in lists, row by row."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.errors import BuildError
from tasks.sources import scan
from tests.fixtures import datasets
from tests.tasks.test_sources_videos import extras, rows


def test_siw_m(tmp_path: Path) -> None:
    found = scan("siw-m", datasets.siw_m(tmp_path))
    assert rows(found) == {
        "Live/Test/Live_2.mov": ("test", "Live/Test/Live_2", 0, "", "", "", "video"),
        "Live/Train/Live_1.mov": ("train", "Live/Train/Live_1", 0, "", "", "", "video"),
        "Makeup/Cosmetic/Makeup_2.mov": ("train", "Makeup/Cosmetic/Makeup_2", 1, "makeup", "cosmetic", "", "video"),
        "Mask/SiliconeMask/Silicone_7.mov": (
            *("train", "Mask/SiliconeMask/Silicone_7", 1, "mask3d", "silicone-mask", "", "video"),
        ),
        "Paper/Paper_1.mov": ("train", "Paper/Paper_1", 1, "print", "print", "", "video"),
        "Partial/PaperCut/Partial_Papercut_3.mov": (
            *("train", "Partial/PaperCut/Partial_Papercut_3", 1, "partial", "partial-paper", "", "video"),
        ),
    }
    assert found.ignored == [("Mask/Clown/Mask_1.mov", "not named like Mask/HalfMask/Mask_Half_1.mov")]


def test_siw_mv2_is_split_by_lists_in_which_stems_repeat_and_lack_videos(tmp_path: Path) -> None:
    found = scan("siw-mv2", datasets.siw_mv2(tmp_path))
    assert rows(found) == {
        "Live/Live_2.mov": ("test", "Live_2", 0, "", "", "", "video"),
        "Live/Live_891.mov": ("train", "Live_891", 0, "", "", "", "video"),
        "Spoof/Makeup_Cosmetic/Makeup_Co_5.mp4": ("train", "Makeup_Co_5", 1, "makeup", "cosmetic", "", "video"),
        "Spoof/Mannequin/Mask_Mann_3.avi": ("test", "Mask_Mann_3", 1, "mask3d", "mannequin-head", "", "video"),
        "Spoof/Paper/Paper_1.mov": ("train", "Paper_1", 1, "print", "print", "", "video"),
        "Spoof/Silicone/Mask_Silicone_4.mov": ("train", "Mask_Silicone_4", 1, "mask3d", "silicone-mask", "", "video"),
    }
    assert extras(found)["Live/Live_891.mov"] == {"lists": ["trainlist_live", "train_B_spoof"]}
    assert extras(found)["Spoof/Silicone/Mask_Silicone_4.mov"] == {}
    assert found.ignored == [
        ("Live_12", "listed in trainlist_live.txt, but there is no such video"),
        ("Spoof/Mask_HalfMask/Mask_Paper_9.mov", "its name says Mask_Paper, its folder is of Mask_Half"),
        ("pro_3_text", "not a folder of media"),
    ]
    assert found.layout == "SiW-Mv2, split by the lists in pro_3_text/, what is in none is train"


def test_siw_mv2_without_its_lists_says_so_and_with_half_of_them_names_the_missing_one(tmp_path: Path) -> None:
    root = datasets.siw_mv2(tmp_path / "a", lists=False)
    (root / "Spoof/Paper").rename(root / "Spoof/Print")  # as the authors' description calls it
    found = scan("siw-mv2", root)
    assert set(found.media["split"].to_pylist()) == {"train"}
    assert rows(found)["Spoof/Print/Paper_1.mov"][3:5] == ("print", "print")
    assert found.layout.endswith("no lists in pro_3_text/: all train")
    root = datasets.siw_mv2(tmp_path / "b")
    (root / "pro_3_text/testlist_live.txt").unlink()
    with pytest.raises(BuildError, match=r"testlist_live.txt: this list of the dataset cannot be read"):
        scan("siw-mv2", root)


def test_rose_youtu_and_the_turns_that_its_phones_make(tmp_path: Path) -> None:
    found = scan("rose-youtu", datasets.rose_youtu(tmp_path))
    assert rows(found) == {
        "test/_15/Mc_NT_ZTE_g_E_15_2.mp4": ("test", "15", 1, "papercut", "mask-cropped", "", "video"),
        "train/2/G_NT_5s_g_E_2_1.mp4": ("train", "2", 0, "", "", "", "video"),
        "train/2/Vl_T_HS_wg_E_2_3.mp4": ("train", "2", 1, "replay", "lenovo", "", "video"),
        "train/2/Vm_T_IP_wg_E_2_4.mp4": ("train", "2", 1, "replay", "mac", "", "video"),
        "train/_3/Ps_NT_HW_g_B_3_9.mp4": ("train", "3", 1, "print", "still", "", "video"),
    }
    extra = extras(found)
    assert extra["train/2/G_NT_5s_g_E_2_1.mp4"] == {
        **{"device": "iphone-5s", "talking": False, "glasses": True, "environment": "E"},
        "turns": [0, 90, 270],
    }
    assert [extra[path].get("turns") for path in sorted(extra)] == [
        *([0, 90, 270], [0, 90, 270], [0, 180], None, [0, 90, 270]),
    ]
    assert found.ignored == [
        ("test/_15/X_NT_ZTE_g_E_15_2.mp4", "not named like train/2/G_NT_5s_g_E_2_1.mp4"),
        ("train.txt", "not a folder of media"),
    ]


@pytest.mark.parametrize("flat", [False, True])
def test_lcc_fasd_with_its_evaluation_in_folders_and_flat(tmp_path: Path, flat: bool) -> None:
    found = scan("lcc-fasd", datasets.lcc_fasd(tmp_path, flat=flat))
    live, spoof = ("real_0001.png", "spoof_0001.png") if flat else ("real/0001.png", "spoof/0001.png")
    expected = {
        f"LCC_FASD_evaluation/{live}": ("test", 0, "", ""),
        f"LCC_FASD_evaluation/{spoof}": ("test", 1, "other", "unknown"),
        "LCC_FASD_development/real/c.JPG": ("dev", 0, "", ""),
        "LCC_FASD_training/real/a_1.png": ("train", 0, "", ""),
        "LCC_FASD_training/spoof/b 2.jpg": ("train", 1, "other", "unknown"),
    }
    assert rows(found) == {
        path: (split, path, label, attack, detail, "", "image")
        for path, (split, label, attack, detail) in expected.items()
    }
    assert found.ignored == [("LCC_FASD_training/real/.DS_Store", "hidden file")]


def test_casia_surf_challenge_release_where_1_is_live(tmp_path: Path) -> None:
    found = scan("casia-surf", datasets.casia_surf(tmp_path, challenge=True))
    real, fake = "Training/real_part/CLKJ_AS0005/real.rssdk", "Training/fake_part/CLKJ_AS0005/04_en_b.rssdk"
    assert rows(found) == {
        f"{fake}/color/15.jpg": ("train", "CLKJ_AS0005", 1, "papercut", "04_en_b", "04_en_b", "image"),
        f"{real}/color/101.jpg": ("train", "CLKJ_AS0005", 0, "", "", "real", "image"),
        f"{real}/color/15.jpg": ("train", "CLKJ_AS0005", 0, "", "", "real", "image"),
        "Val/0000/000000-color.jpg": ("dev", "Val/000000", 1, "papercut", "unknown", "", "image"),
        "Val/0000/000001-color.jpg": ("dev", "Val/000001", 0, "", "", "", "image"),
    }
    cameras = "pictures of the depth and the infrared camera"
    assert found.ignored == [
        ("Testing/**", f"{cameras}: 2 files not read"),
        ("Testing/0000/000000-color.jpg", "its label is in test_private_list.txt, which is not there"),
        ("Training/**/depth", f"{cameras}: 2 folders not read"),
        ("Training/**/ir", f"{cameras}: 2 folders not read"),
        (f"{fake}/color/101.jpg", "its list says live, its folder says fake"),
        ("Val/**", f"{cameras}: 4 files not read"),
        *[(f"{name}_list.txt", "not a folder of media") for name in ("train", "val_private", "val_public")],
    ]
    assert found.layout == "CASIA-SURF, challenge release, labels (1 is live) by train_list.txt, val_private_list.txt"


def test_casia_surf_full_release_where_0_is_live(tmp_path: Path) -> None:
    found = scan("casia-surf", datasets.casia_surf(tmp_path, challenge=False))
    real, fake = "Training/real_part/CLKJ_AS0005/real.rssdk", "Training/fake_part/CLKJ_AS0005/04_en_b.rssdk"
    unseen, test = "Val/fake_part/CLKJ_BS1245/02_e_b.rssdk", "Testing/real_part/CLKJ_CS0007/real.rssdk"
    expected = {
        f"Data/{fake}/color/{n}.jpg": ("train", "CLKJ_AS0005", 1, "papercut", "04_en_b", "04_en_b")
        for n in ("0015", "0101")
    }
    expected |= {f"Data/{real}/color/{n}.jpg": ("train", "CLKJ_AS0005", 0, "", "", "real") for n in ("0015", "0101")}
    expected |= {f"Data/{unseen}/color/0015.jpg": ("dev", "CLKJ_BS1245", 1, "papercut", "02_e_b", "02_e_b")}
    expected |= {f"Data/{test}/color/{n}.jpg": ("test", "CLKJ_CS0007", 0, "", "", "real") for n in ("0015", "0101")}
    assert rows(found) == {path: (*row, "image") for path, row in expected.items()}
    assert (f"Data/{unseen}/color/0101.jpg", "its list says live, its folder says fake") in found.ignored
    assert (f"Data/{test}/color/9999.jpg", "listed, but there is no such picture") in found.ignored
    assert found.layout == "CASIA-SURF, full release, checked against 3 lists (0 is live)"
    inside = scan("casia-surf", tmp_path / "Data")
    assert inside.layout == "CASIA-SURF, the Data folder of the full release"
    assert len(inside.media) == len(found.media) + 1  # no list contradicts


def test_casia_surf_without_private_lists_is_its_training_part(tmp_path: Path) -> None:
    found = scan("casia-surf", datasets.casia_surf(tmp_path, challenge=True, private=False))
    assert set(found.media["split"].to_pylist()) == {"train"}
    reason = "its label is in val_private_list.txt, which is not there"
    assert [path for path, why in found.ignored if why == reason] == [f"Val/0000/{n:06}-color.jpg" for n in (0, 1)]


@pytest.mark.parametrize("line", ["Val/0000/000000-color.jpg 2", "000000-color.jpg"])
def test_a_label_list_with_another_word_is_an_error_that_names_the_line(tmp_path: Path, line: str) -> None:
    root = datasets.casia_surf(tmp_path, challenge=True)
    (root / "val_private_list.txt").write_text(f"\nVal/0000/000001-color.jpg 1\n{line}\n")
    with pytest.raises(BuildError, match=r"val_private_list.txt: line 3: expected `path ... label` with label 0 or 1"):
        scan("casia-surf", root)


def test_cefa_is_split_by_people(tmp_path: Path) -> None:
    found = scan("cefa", datasets.cefa(tmp_path))
    clips = {
        "Ethnicity/AF/AF-120/1_120_3_2_2": ("train", "AF-120", 1, "print", "cloth"),
        "Ethnicity/CA/CA-200/2_200_1_1_1": ("dev", "CA-200", 0, "", ""),
        "Ethnicity/EA/EA-499/3_499_2_3_4": ("test", "EA-499", 1, "replay", "screen"),
        "Mask/3D-Mask/073/1_073_1_0_2_1_2": ("test", "3d-mask-073", 1, "mask3d", "3d-mask"),
        "Mask/Silicone-Mask/001/2_001_1_1_2_1_3": ("test", "silicone-mask-001", 1, "mask3d", "silicone-mask"),
    }
    assert rows(found) == {
        f"{clip}/color/0001.jpg": (*row, clip.rsplit("/", 1)[1], "image") for clip, row in clips.items()
    }
    about = {"device": "bag", "environment": "outdoor", "ethnicity": "AF"}
    assert extras(found)["Ethnicity/AF/AF-120/1_120_3_2_2/color/0001.jpg"] == about
    assert ("Mask/**/depth", "pictures of the depth and the infrared camera: 2 folders not read") in found.ignored


def test_cefa_challenge_copy_takes_labels_from_its_lists(tmp_path: Path) -> None:
    found = scan("cefa", datasets.cefa_challenge(tmp_path))
    assert rows(found) == {
        "dev/003000/profile/0001.jpg": ("dev", "dev/003000", 0, "", "", "003000", "image"),
        "dev/003001/profile/0001.jpg": ("dev", "dev/003001", 1, "other", "unknown", "003001", "image"),
        "train/1_120_3_2_2/profile/0001.jpg": ("train", "AF-120", 1, "print", "cloth", "1_120_3_2_2", "image"),
        "train/1_121_3_2_1/profile/0001.jpg": ("train", "AF-121", 0, "", "", "1_121_3_2_1", "image"),
    }
    assert extras(found)["train/1_121_3_2_1/profile/0001.jpg"]["lists"] == ["4@1/train", "4@2/train"]
    assert ("dev/003999", "listed, but there is no such clip") in found.ignored
    in_none = "its clip is in none of the lists 4@{1,2,3}_{train,dev_ref,test_res}.txt"
    assert ("test/000001/profile/0001.jpg", in_none) in found.ignored
    (tmp_path / "4@3_train.txt").write_text("dev/003000 0")
    with pytest.raises(BuildError, match=r"4@3_train.txt: dev/003000 has another label here than in an earlier list"):
        scan("cefa", tmp_path)


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("siw-m", datasets.siw_m),
        ("siw-mv2", datasets.siw_mv2),
        ("rose-youtu", datasets.rose_youtu),
        ("lcc-fasd", datasets.lcc_fasd),
        ("casia-surf", lambda root: datasets.casia_surf(root, challenge=True)),
        ("casia-surf", lambda root: datasets.casia_surf(root, challenge=False) / "Data"),
        ("cefa", datasets.cefa),
        ("cefa", datasets.cefa_challenge),
        ("3dmad", datasets.mad3d),
        ("wmca", datasets.wmca),
    ],
)
def test_a_root_that_is_a_level_too_high_names_the_right_one(
    tmp_path: Path, name: str, build: Callable[[Path], Path]
) -> None:
    right = build(tmp_path / "download" / "the_dataset")
    with pytest.raises(
        BuildError, match=f"does not hold .*; found the_dataset. Did you mean {tmp_path}/download/the_d"
    ):
        scan(name, tmp_path / "download")
    assert len(scan(name, right).media) > 0
