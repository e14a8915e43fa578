"""Protocols: what each published one selects, counted against the released lists, and what a store says it lacks."""

import json
import os
from collections import Counter
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from storage.schema import COLUMNS
from tasks.sources import scan
from training.errors import TrainingError
from training.evaluate import evaluate, read_scores
from training.metrics import Scores, Threshold, measure
from training.protocols import PARTS, Columns, find_protocol, protocols, read_protocols
from training.splits import split_train_dev

DEFAULTS = {"frame": 0, "view": 0, "session": "", "attack": "", "attack_detail": "", "extra": "{}", "subject": ""}


def table(rows: list[dict]) -> pa.Table:
    """Rows of a store; what a test does not name has its default."""
    rows = [
        {**DEFAULTS, **row, "label": int(bool(row.get("attack"))), "path": row.get("path", f"{i}")}
        for i, row in enumerate(rows)
    ]
    names = [name for name in COLUMNS.names if rows and name in rows[0]]
    return pa.table({name: pa.array([row[name] for row in rows], COLUMNS.field(name).type) for name in names})


def scanned(name: str, root: Path, files: Iterable[str]) -> pa.Table:
    """The store that the source `name` makes of empty `files`: one frame of each, plain."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    media = scan(name, root).media
    for column in ("frame", "view"):
        field = COLUMNS.field(column)
        media = media.append_column(field, pa.array(np.zeros(len(media)), field.type))
    return media


def oulu_files() -> Iterable[str]:
    """Every released video of OULU-NPU: 55 users x 6 phones x 3 sessions x 5 files."""
    for phone, session, user, file in product(range(1, 7), range(1, 4), range(1, 56), range(1, 6)):
        folder = "Train" if user <= 20 else "Dev" if user <= 35 else "Test"
        yield f"{folder}_files/{phone}_{session}_{user:02d}_{file}.avi"


@pytest.fixture(scope="module")
def oulu(tmp_path_factory) -> pa.Table:
    return scanned("oulu-npu", tmp_path_factory.mktemp("oulu"), oulu_files())


def counts(selection, made: pa.Table) -> list[tuple[int, int]]:
    """(live, spoof) of train, dev and test."""
    label = made["label"].to_numpy()
    return [tuple(np.bincount(label[getattr(selection, part)], minlength=2).tolist()) for part in PARTS]


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


def test_dev_and_test_hold_plain_crops_and_train_every_view(oulu):
    place, field = oulu.schema.get_field_index("view"), COLUMNS.field("view")
    views = [pa.array(np.full(len(oulu), view), field.type) for view in range(3)]
    three = pa.concat_tables([oulu.set_column(place, field, view) for view in views])
    selection = find_protocol("oulu-npu-1").select(three)
    assert counts(selection, three) == [(720, 2880), (180, 720), (120, 480)]


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


def people(dataset: str, split: str, count: int, attacks=("print",), **more) -> list[dict]:
    """`count` subjects of one split, each live once and attacked once a kind."""
    return [
        {
            "dataset": dataset,
            "split": split,
            "subject": f"{dataset}/{split}{i}",
            "attack": attack,
            "path": f"{split}/{i}/{attack or 'live'}",
            **more,
        }
        for i in range(count)
        for attack in ("", *attacks)
    ]


def test_where_there_is_no_dev_split_whole_subjects_are_carved_from_train_of_every_dataset():
    made = table(people("casia-fasd", "train", 20) + people("casia-fasd", "test", 30))
    protocol = find_protocol("casia-fasd")
    first = protocol.select(made, seed=1)
    subject = np.array(made["subject"].to_pylist())
    assert counts(first, made) == [(15, 15), (5, 5), (30, 30)]
    assert not set(subject[first.train]) & set(subject[first.dev])
    assert first.dev_rule == "25% of the train subjects of every dataset, by seed 1"
    assert np.array_equal(first.dev, protocol.select(made, seed=1).dev)
    assert not np.array_equal(first.dev, protocol.select(made, seed=2).dev)


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


def test_a_store_without_a_dataset_says_which_is_missing():
    with pytest.raises(TrainingError, match=r"oulu-npu-1: this store cannot serve it. train: no samples of oulu-npu"):
        find_protocol("oulu-npu-1").select(table(people("casia-fasd", "train", 4)))


def test_a_store_without_the_kind_that_is_tested_says_what_it_has_instead(oulu):
    made = oulu.filter(np.array([not d.endswith("2") for d in oulu["attack_detail"].to_pylist()]))
    survey = find_protocol("oulu-npu-2").survey(Columns(made))
    assert survey.missing == {"train": (), "dev": (), "test": ("no spoof samples",)}
    lost = oulu.filter(np.array(["phone-5" not in e for e in oulu["extra"].to_pylist()]))
    message = r"test: oulu-npu: none with extra.device 'phone-5'; it has 'phone-1', 'phone-2', 'phone-3'"
    with pytest.raises(TrainingError, match=message):
        find_protocol("oulu-npu-3.5").select(lost)
    assert len(find_protocol("oulu-npu-3.5").select(lost, parts=("train", "dev")).train)  # training is possible


def test_subjects_on_two_sides_are_noted_with_their_names():
    made = table(
        people("casia-surf", "train", 5)
        + people("casia-surf", "dev", 3)
        + people("casia-surf", "test", 3)
        + [{"dataset": "casia-surf", "split": "test", "subject": "casia-surf/train3", "path": "x"}]
    )
    notes = find_protocol("casia-surf").select(made).notes
    assert notes[-1] == "1 subjects are in both train and test, e.g. casia-surf/train3"


def test_training_takes_a_protocol_by_name(oulu):
    split = split_train_dev(oulu, seed=0, protocol="oulu-npu-3.2")
    assert (split.protocol, split.rule) == ("oulu-npu-3.2", "as the protocol says")
    assert (len(split.train), len(split.dev)) == (1500, 1125)
    assert split.train_subjects == [f"oulu-npu/{user:02d}" for user in range(1, 21)]


MINE = """
- name: mine
  title: my own
  source: me
  metric: {name: acer, level: image, apcer: max}
  train: {dataset: mine, split: train}
  dev: 0.5
  test: {dataset: mine, split: test, frame: {below: 2}, session: {not: [night]}}
"""


def test_a_protocol_of_your_own_is_a_file(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(MINE)
    rows = people("mine", "train", 4)
    rows += [
        {"dataset": "mine", "split": "test", "attack": attack, "frame": frame, "session": session, "path": "v"}
        for attack in ("", "print")
        for frame in range(4)
        for session in ("day", "night")
    ]
    made = table(rows)
    selection = find_protocol(f"{file}:mine").select(made)
    assert counts(selection, made) == [(2, 2), (2, 2), (2, 2)]
    assert {made["session"][int(i)].as_py() for i in selection.test} == {"day"}
    assert read_protocols(file)["mine"].train == find_protocol(file).train


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("split: train", "spilt: train", r"mine: train: no column 'spilt'; there are dataset, path"),
        ("dev: 0.5", "dev: {dataset: mine, carved: 2}", r"carved is 2, expected a share between 0 and 1"),
        ("{below: 2}", "{under: 2}", r"frame cannot be \{'under': 2\}"),
        ("[night]", '"{fold}"', r"'fold' is not a word of its folds"),
        ("level: image", "level: frame", r"0.metric.level"),
        ("split: test", "of: train", r"`of: train` stands in dev alone"),
        ("- name", "name", r"not a readable YAML file|expected a list of protocols"),
    ],
)
def test_a_file_that_is_no_protocol_says_what_is_wrong(tmp_path, old, new, message):
    file = tmp_path / "mine.yaml"
    assert old in MINE
    file.write_text(MINE.replace(old, new))
    with pytest.raises(TrainingError, match=message):
        find_protocol(file)


def test_an_unknown_name_is_told_the_known_ones_and_a_family_its_folds():
    with pytest.raises(TrainingError, match=r"no protocol 'oulu'; there are .*oulu-npu-1"):
        find_protocol("oulu")
    with pytest.raises(TrainingError, match=r"has 6 folds; name one: oulu-npu-3.1, oulu-npu-3.2"):
        find_protocol("oulu-npu-3")


def test_every_published_protocol_states_where_it_comes_from_and_what_it_measures():
    assert len(protocols()) >= 60
    for protocol in protocols().values():
        assert protocol.source
        assert protocol.datasets
        assert "{" not in protocol.title


def test_evaluation_takes_the_test_rows_of_a_protocol(trained, tmp_path):
    file = tmp_path / "balls.yaml"
    file.write_text(
        MINE.replace("name: mine", "name: prints")
        .replace("dataset: mine", "dataset: balls")
        .replace(
            "{dataset: balls, split: test, frame: {below: 2}, session: {not: [night]}}",
            '{dataset: balls, split: test, attack: ["", print]}',
        )
    )
    evaluation = evaluate(str(trained.store), trained.model, tmp_path / "out", protocol=str(file))
    assert evaluation.split == "prints test"
    assert evaluation.protocol["name"] == "prints"
    assert evaluation.protocol["figure"]["value"] == evaluation.metrics.acer  # images, the worst attack
    assert set(read_scores(tmp_path / "out" / "scores.parquet").attack) == {"", "print"}
    assert 0 < evaluation.store["samples"] < trained.evaluation.store["samples"]


def test_a_protocol_compares_the_figure_that_its_publication_does():
    scores = Scores.of(
        "t", [0.9, 0.1, 0.8, 0.7, 0.2, 0.1], [0, 0, 1, 1, 1, 1], ["", "", "print", "print", "replay", "replay"]
    )
    rates = measure(scores, Threshold(0.5, "given", "t", ""), oracle=True)
    assert find_protocol("oulu-npu-1").metric.of(rates) == pytest.approx(0.75)  # APCER 1 of print, BPCER 0.5
    assert find_protocol("celeba-spoof-intra").metric.of(rates) == pytest.approx(0.5)  # APCER 0.5 of both in one pot
    assert find_protocol("replay-attack").metric.of(rates) == rates.hter == pytest.approx(0.5)
    assert find_protocol("casia-fasd").metric.of(rates) == rates.eer


DOCS = Path(__file__).parents[2] / "docs/protocols.md"


def test_the_documentation_names_every_family():
    text = DOCS.read_text()
    assert {protocol.family for protocol in protocols().values() if f"`{protocol.family}`" not in text} == set()


def test_the_example_of_the_documentation_is_a_protocol(tmp_path):
    file = tmp_path / "door.yaml"
    file.write_text(DOCS.read_text().split("```yaml\n")[1].split("```")[0])
    first, second = read_protocols(file).values()
    assert (first.name, second.name) == ("door.1", "door.2")
    assert second.test == ({"dataset": "door", "split": "test", "session": "night", "extra.device": "phone-2"},)


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
