"""What each published protocol selects, counted against the released lists."""

import json
import os
from collections import Counter
from collections.abc import Iterable
from itertools import product

import numpy as np
import pyarrow as pa
import pytest

from storage.schema import COLUMNS
from tests.fixtures.listings import counts, people, scanned, table
from training.protocols import PARTS, Columns, find_protocol, protocols


@pytest.mark.parametrize(
    ("name", "released"),
    [  # live and attack videos of the released lists, as bob.db.oulunpu counts them
        ("oulu-npu-1", [(240, 960), (180, 720), (120, 480)]),
        ("oulu-npu-2", [(360, 720), (270, 540), (360, 720)]),
        *[(f"oulu-npu-3.{k}", [(300, 1200), (225, 900), (60, 240)]) for k in range(1, 7)],
        *[(f"oulu-npu-4.{k}", [(200, 400), (150, 300), (20, 40)]) for k in range(1, 7)],
    ],
)
def test_oulu_protocols_hold_as_many_videos_as_the_released_lists(name, released, oulu):
    selection = find_protocol(name).select(oulu)
    assert counts(selection, oulu) == released
    assert not any(selection.missing.values())
    assert selection.notes == find_protocol(name).notes  # nobody is on two sides


def test_a_fold_of_oulu_tests_the_phone_that_it_names_and_no_other(oulu):
    selection = find_protocol("oulu-npu-4.3").select(oulu)
    phone, session, _, file = np.array([path[-12:-4].split("_") for path in oulu["path"].to_pylist()]).T
    assert set(phone[selection.test]) == {"3"}
    assert set(phone[selection.train]) == set("12456")
    assert set(session[selection.test]) == {"3"}
    assert set(file[selection.test]) == set("135")
    assert set(file[selection.dev]) == set("124")


def siw_files() -> Iterable[str]:
    """SiW's naming for five subjects a split: live and print on two media, replay on four, two sessions each."""
    for split, subjects in (("Train", (3, 4, 5, 6, 8)), ("Test", (1, 2, 9, 10, 12))):
        for subject, (kind, media), session in product(subjects, ((1, 2), (2, 2), (3, 4)), (1, 2)):
            for medium in range(1, media + 1):
                folder = "live" if kind == 1 else "spoof"
                yield f"{split}/{folder}/{subject:03d}/{subject:03d}-1-{kind}-{medium}-{session}.mov"


@pytest.mark.parametrize(
    ("name", "expected"),
    [  # subjects 003 and 006 are dev; a subject has 4 live, 4 print and 8 replay videos
        ("siw-1", [(12, 36), (8, 24), (20, 60)]),
        *[(f"siw-2.{k}", [(12, 18), (8, 12), (20, 10)]) for k in range(1, 5)],
        ("siw-3.1", [(12, 12), (8, 8), (20, 40)]),
        ("siw-3.2", [(12, 24), (8, 16), (20, 20)]),
    ],
)
def test_siw_protocols_take_bobs_dev_subjects_out_of_train(name, expected, tmp_path):
    made = scanned("siw", tmp_path, siw_files())
    selection = find_protocol(name).select(made)
    assert counts(selection, made) == expected
    assert {made["subject"][int(i)].as_py() for i in selection.dev} == {"siw/003", "siw/006"}


def test_siw_protocol_1_trains_on_the_first_60_frames_and_tests_on_all(tmp_path):
    first = scanned("siw", tmp_path, siw_files())
    place, field = first.schema.get_field_index("frame"), COLUMNS.field("frame")
    made = pa.concat_tables(
        [first.set_column(place, field, pa.array(np.full(len(first), frame), field.type)) for frame in (0, 59, 60)]
    )
    assert counts(find_protocol("siw-1").select(made), made) == [(24, 72), (16, 48), (60, 180)]


SIW_M = [
    "Paper",
    "Replay",
    "Partial/FunnyeyeGlasses",
    "Partial/PaperCut",
    "Partial/PaperGlasses",
    "Makeup/Cosmetic",
    "Makeup/Impersonation",
    "Makeup/Obfuscation",
    "Mask/HalfMask",
    "Mask/MannequinHead",
    "Mask/PaperMask",
    "Mask/SiliconeMask",
    "Mask/TransparentMask",
]


def test_siw_m_leaves_each_of_its_13_attacks_out_once(tmp_path):
    files = [f"{kind}/{i}.mov" for kind in (*SIW_M, "Live/Train", "Live/Test") for i in range(5)]
    made = scanned("siw-m", tmp_path, files)
    detail = np.array(made["attack_detail"].to_pylist())
    folds = [protocol for protocol in protocols().values() if protocol.family == "siw-m-loo"]
    tested = set()
    for protocol in folds:
        selection = protocol.select(made)
        assert counts(selection, made) == [(4, 48), (1, 12), (5, 5)]
        (left_out,) = set(detail[selection.test]) - {""}
        assert left_out not in detail[np.concatenate([selection.train, selection.dev])]
        tested.add(left_out)
    assert len(tested) == len(folds) == 13


MV2 = {
    "Paper": "Paper",
    "Replay": "Replay",
    "Partial_FunnyeyeGlasses": "Partial_Funnyeye",
    "Partial_PaperGlasses": "Partial_Paperglass",
    "Partial_Eye": "Partial_Eye",
    "Partial_Mouth": "Partial_Mouth",
    "Makeup_Cosmetic": "Makeup_Co",
    "Makeup_Impersonation": "Makeup_Im",
    "Makeup_Obfuscation": "Makeup_Ob",
    "Mask_HalfMask": "Mask_Half",
    "Mask_TransparentMask": "Mask_Trans",
    "Mask_PaperMask": "Mask_Paper",
    "Mannequin": "Mask_Mann",
    "Silicone": "Mask_Silicone",
}


def test_siw_mv2_goes_by_its_lists_and_leaves_each_of_14_attacks_out(tmp_path):
    stems = [f"Spoof/{kind}/{prefix}_{i}" for kind, prefix in MV2.items() for i in range(5)]
    live = [f"Live/Live_{i}" for i in range(20)]
    lists = {
        "trainlist_all": stems[::2],
        "testlist_all": stems[1::2],
        "trainlist_live": live[:15],
        "testlist_live": live[15:],
        "train_A_pretrain": [*stems[:30], *live[:10]],
        "test_C_race": [*stems[60:], *live[17:]],
    }
    (tmp_path / "pro_3_text").mkdir()
    for name, members in lists.items():
        (tmp_path / f"pro_3_text/{name}.txt").write_text("\n".join(os.path.basename(m) for m in members))
    made = scanned("siw-mv2", tmp_path, [f"{stem}.mov" for stem in (*stems, *live)])
    assert counts(find_protocol("siw-mv2-known").select(made), made) == [(12, 28), (3, 7), (5, 35)]
    assert counts(find_protocol("siw-mv2-cross.c").select(made), made) == [(8, 24), (2, 6), (3, 10)]
    for protocol in protocols().values():
        if protocol.family == "siw-mv2-loo":
            selection = protocol.select(made)
            assert counts(selection, made)[2] == (4, 5)
            assert len({*selection.train, *selection.dev, *selection.test}) == len(made)


def test_the_variants_of_leave_one_out_differ_as_their_codes_do():
    splits = {
        "oulu-npu": ("train", "dev", "test"),
        "replay-attack": ("train", "dev", "test"),
        "casia-fasd": ("train", "test"),
        "msu-mfsd": ("train", "test"),
    }
    made = table([row for name, parts in splits.items() for part in parts for row in people(name, part, 10)])
    where = list(zip(made["dataset"].to_pylist(), made["split"].to_pylist(), strict=True))
    seen = {}
    for variant in ("ssdg", "ssan", "safas"):
        selection = find_protocol(f"ocim-{variant}.ocm-to-i").select(made)
        assert {where[i][0] for i in selection.train} == {"oulu-npu", "casia-fasd", "msu-mfsd"}
        assert {where[i][0] for i in selection.dev} == {"oulu-npu", "casia-fasd", "msu-mfsd"}
        assert {where[i][0] for i in selection.test} == {"replay-attack"}
        trained = Counter(where[i] for i in [*selection.train, *selection.dev])
        seen[variant] = set(trained), {where[i][1] for i in selection.test}
    both = {(name, part) for name in ("oulu-npu", "casia-fasd", "msu-mfsd") for part in ("train", "test")}
    assert seen["ssdg"] == (both, {"train", "test"})
    assert seen["ssan"] == ({pair for pair in both if pair[1] == "train"}, {"test"})
    assert seen["safas"] == (both | {("oulu-npu", "dev")}, {"train", "dev", "test"})


def test_a_share_that_is_carved_off_for_test_is_not_trained_on():
    made = table(
        [
            row
            for name in ("casia-fasd", "oulu-npu", "casia-surf")
            for part in ("train", "dev", "test")
            for row in people(name, part, 4)
        ]
        + [
            {"dataset": "siw-m", "split": "train", "attack": a, "path": f"{a}{i}"}
            for a in ("", "mask3d")
            for i in range(50)
        ]
    )
    selection = find_protocol("realtime-combined").select(made)
    rows = [set(getattr(selection, part).tolist()) for part in PARTS]
    assert not rows[0] & rows[1]
    assert not rows[0] & rows[2]
    siw_m = set(np.flatnonzero(np.array(made["dataset"].to_pylist()) == "siw-m").tolist())
    assert [len(part & siw_m) for part in rows] == [48, 12, 40]
    assert siw_m <= rows[0] | rows[1] | rows[2]


def test_every_published_protocol_states_where_it_comes_from_and_what_it_measures():
    assert len(protocols()) >= 60
    for protocol in protocols().values():
        assert protocol.source
        assert protocol.datasets
        assert "{" not in protocol.title


def test_celeba_spoof_goes_by_the_released_lists_whatever_the_folder(tmp_path):
    pictures = {  # path -> label
        f"Data/{split}/{subject}/{kind}/{subject:06}.jpg": int(kind == "spoof")
        for split, subjects in (("train", range(20)), ("test", range(20, 30)))
        for subject in subjects
        for kind in ("live", "spoof")
    }
    paths = list(pictures)
    lists = {  # protocol 1 tests two people out of the training folder
        "intra_test/train": paths[:40],
        "intra_test/test": paths[40:],
        "protocol1/train": paths[:20],
        "protocol1/test": [*paths[36:40], *paths[40:50]],
    }
    for name, members in lists.items():
        (tmp_path / "metas" / name).parent.mkdir(parents=True, exist_ok=True)
        content = {path: [0] * 40 + [3 * pictures[path], 0, 0, pictures[path]] for path in members}
        (tmp_path / f"metas/{name}_label.json").write_text(json.dumps(content))
    made = scanned("celeba-spoof", tmp_path, paths)
    assert counts(find_protocol("celeba-spoof-intra").select(made), made) == [(18, 18), (2, 2), (10, 10)]
    cross = find_protocol("celeba-spoof-cross.1").select(made)
    assert counts(cross, made) == [(9, 9), (1, 1), (7, 7)]
    assert {made["path"][int(i)].as_py() for i in cross.test} == set(lists["protocol1/test"])
    survey = find_protocol("celeba-spoof-cross.2").survey(Columns(made))
    assert survey.missing["test"] == (
        "celeba-spoof: none with extra.lists 'protocol2/test'; it has 'protocol1/test', 'protocol1/train'",
    )


def test_casia_and_replay_meet_by_the_words_of_their_sources(tmp_path):
    clips = [*map(str, range(1, 9)), *(f"HR_{i}" for i in range(1, 5))]
    casia = [
        f"{split}_release/{who}/{clip}.avi"
        for split, n in (("train", 20), ("test", 30))
        for who in range(1, n + 1)
        for clip in clips
    ]
    replay = []
    for split, clients in (("train", range(15)), ("devel", range(15, 30)), ("test", range(30, 50))):
        for client in clients:
            who = f"client{client:03}_session01"
            replay += [
                f"{split}/real/{who}_webcam_authenticate_{light}_{i}.mov"
                for light in ("controlled", "adverse")
                for i in (1, 2)
            ]
            for support, light in product(("fixed", "hand"), ("controlled", "adverse")):
                made_with = [
                    ("print", "highdef_photo"),
                    *[(d, f"{d}_{m}") for d in ("mobile", "highdef") for m in ("photo", "video")],
                ]
                replay += [
                    f"{split}/attack/{support}/attack_{device}_{who}_{sample}_{light}.mov"
                    for device, sample in made_with
                ]
    made = pa.concat_tables(
        [scanned("casia-fasd", tmp_path / "c", casia), scanned("replay-attack", tmp_path / "i", replay)]
    )
    # the published sizes: CASIA-FASD 60/180 and 90/270, Replay-Attack 60/300 and 80/400
    assert counts(find_protocol("casia-replay.casia-to-replay").select(made), made) == [(48, 144), (12, 36), (80, 400)]
    assert counts(find_protocol("casia-replay.replay-to-casia").select(made), made) == [(48, 240), (12, 60), (90, 270)]
    assert counts(find_protocol("replay-attack").select(made), made) == [(60, 300), (60, 300), (80, 400)]
    assert counts(find_protocol("casia-fasd").select(made), made) == [(45, 135), (15, 45), (90, 270)]


def test_wmca_leaves_out_the_instruments_of_its_lists(tmp_path):
    """One bona fide recording and one of each attack instrument in each group."""
    instruments = [
        "0_00",
        *(f"1_{i:02}" for i in range(1, 17)),
        *(f"2_{i:02}" for i in (*range(1, 19), 75, 99)),
        *(f"3_{i:02}" for i in range(1, 16)),
        *(f"4_{i:02}" for i in range(1, 19)),
        "5_01",
    ]
    files, lines = [], [",client_id,filepath,group,label"]
    for client, (group, instrument) in enumerate(product(("train", "dev", "eval"), instruments)):
        name = f"face-station/17.01.18/{client:03}_01_007_{instrument}"
        files.append(f"{name}.hdf5")
        lines.append(f"{client},{client},{name},{group},{'bonafide' if instrument == '0_00' else 'attack'}")
    (tmp_path / "grandtest.csv").write_text("\n".join(lines))
    made = scanned("wmca", tmp_path, files)
    assert counts(find_protocol("wmca-grandtest").select(made), made) == [(1, len(instruments) - 1)] * 3
    held_out = {  # as the lists p2@1 to p2@7 hold them out
        "fake-head": {f"2_{i:02}" for i in range(1, 8)},
        "flexible-mask": {"2_18", "2_75", "2_99"},
        "glasses": {f"1_{i:02}" for i in (1, 4, 5, 6, 7, 15, 16)},
        "paper-mask": {f"2_{i:02}" for i in range(8, 12)},
        "print": {f"3_{i:02}" for i in range(1, 16) if i % 5},
        "replay": {"3_05", "3_10", "3_15", *(f"4_{i:02}" for i in range(1, 19))},
        "rigid-mask": {"1_02", "1_13", "1_14", *(f"2_{i:02}" for i in range(12, 18))},
    }
    instrument = np.array([path[-9:-5] for path in made["path"].to_pylist()])
    for attack, expected in held_out.items():
        selection = find_protocol(f"wmca-loo.{attack}").select(made)
        assert set(instrument[selection.test]) == expected | {"0_00"}
        assert set(instrument[selection.train]) == set(instrument[selection.dev]) == set(instruments) - expected


def test_3dmad_tests_clients_that_nobody_trained_on(tmp_path):
    files = [
        f"session{s:02}/Data/{client:02}_{s:02}_{shot:02}.hdf5"
        for s in (1, 2, 3)
        for client in range(1, 18)
        for shot in range(1, 6)
    ]
    made = scanned("3dmad", tmp_path, files)
    assert len(made) == 255
    assert counts(find_protocol("3dmad").select(made), made) == [(70, 35), (50, 25), (50, 25)]
