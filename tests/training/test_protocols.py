"""Protocols: what one selects, what a store says it lacks, and how to write one of your own."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from storage.schema import COLUMNS
from tests.fixtures.listings import counts, people, table
from training.errors import TrainingError
from training.evaluate import evaluate, read_scores
from training.metrics import Scores, Threshold, measure
from training.protocols import Columns, find_protocol, protocols, read_protocols
from training.splits import split_train_dev


def test_dev_and_test_hold_plain_crops_and_train_every_view(oulu):
    place, field = oulu.schema.get_field_index("view"), COLUMNS.field("view")
    views = [pa.array(np.full(len(oulu), view), field.type) for view in range(3)]
    three = pa.concat_tables([oulu.set_column(place, field, view) for view in views])
    selection = find_protocol("oulu-npu-1").select(three)
    assert counts(selection, three) == [(720, 2880), (180, 720), (120, 480)]


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
