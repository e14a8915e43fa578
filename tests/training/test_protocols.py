"""Protocols: what each published one selects, counted against the released lists, and what a store says it lacks."""

from collections import Counter
from itertools import product

import numpy as np
import pyarrow as pa
import pytest

from storage.schema import COLUMNS
from training.errors import TrainingError
from training.evaluate import evaluate, read_scores
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


def oulu() -> pa.Table:
    """Every released video of OULU-NPU, one frame each: 55 users x 6 phones x 3 sessions x 5 files."""
    kinds = {
        1: ("", ""),
        2: ("print", "print1"),
        3: ("print", "print2"),
        4: ("replay", "display1"),
        5: ("replay", "display2"),
    }
    rows = []
    for phone, session, user, file in product(range(1, 7), range(1, 4), range(1, 56), kinds):
        rows.append(
            {
                "dataset": "oulu-npu",
                "path": f"{phone}_{session}_{user:02d}_{file}.avi",
                "split": "train" if user <= 20 else "dev" if user <= 35 else "test",
                "subject": f"oulu-npu/{user:02d}",
                "session": str(session),
                "attack": kinds[file][0],
                "attack_detail": kinds[file][1],
                "extra": f'{{"phone": "{phone}"}}',
            }
        )
    return table(rows)


OULU = oulu()


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
def test_oulu_protocols_hold_as_many_videos_as_the_released_lists(name, released):
    selection = find_protocol(name).select(OULU)
    assert counts(selection, OULU) == released
    assert not any(selection.missing.values())
    assert selection.notes == find_protocol(name).notes  # nobody is on two sides


def test_a_fold_of_oulu_tests_the_phone_that_it_names_and_no_other():
    selection = find_protocol("oulu-npu-4.3").select(OULU)
    path = np.array(OULU["path"].to_pylist())
    assert {p[0] for p in path[selection.test]} == {"3"}
    assert {p[0] for p in path[selection.train]} == set("12456")
    assert {p.split("_")[1] for p in path[selection.test]} == {"3"}
    assert {p[-5] for p in path[selection.test]} == set("135")
    assert {p[-5] for p in path[selection.dev]} == set("124")


def test_dev_and_test_hold_plain_crops_and_train_every_view():
    three = pa.concat_tables(
        [
            OULU.set_column(
                OULU.schema.get_field_index("view"), COLUMNS.field("view"), pa.array([view] * len(OULU), pa.int16())
            )
            for view in range(3)
        ]
    )
    selection = find_protocol("oulu-npu-1").select(three)
    assert counts(selection, three) == [(720, 2880), (180, 720), (120, 480)]


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


def test_a_store_without_the_kind_that_is_tested_says_what_it_has_instead():
    made = OULU.filter(np.array([not d.endswith("2") for d in OULU["attack_detail"].to_pylist()]))
    survey = find_protocol("oulu-npu-2").survey(Columns(made))
    assert survey.missing == {"train": (), "dev": (), "test": ("no spoof samples",)}
    lost = OULU.filter(np.array(["5" not in e for e in OULU["extra"].to_pylist()]))
    message = r"test: oulu-npu: none with extra.phone 5; it has '1', '2', '3', '4', '6'"
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


def test_training_takes_a_protocol_by_name():
    split = split_train_dev(OULU, seed=0, protocol="oulu-npu-3.2")
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
        ("[night]", '"{fold}"', r"\{fold\} is not a word of its folds"),
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
    assert set(read_scores(tmp_path / "out" / "scores.parquet").attack) == {"", "print"}
    assert 0 < evaluation.store["samples"] < trained.evaluation.store["samples"]
