"""Nobody is on two sides, and every batch is half live."""

import numpy as np
import pyarrow as pa
import pytest

from storage.dataset import DepthDataset
from training.errors import TrainingError
from training.splits import BalancedSampler, groups_of, rows_of, split_train_dev


def table(rows):
    names = ("split", "subject", "label", "view", "path")
    columns = {name: [r[i] for r in rows] for i, name in enumerate(names)}
    return pa.table({"dataset": ["d"] * len(rows), **columns})


def people(count, split="train", views=1):
    return [
        (split, f"d/{split}{s}", label, view, f"{split}{s}/{label}.png")
        for s in range(count)
        for label in (0, 1)
        for view in range(views)
    ]


def test_dev_is_whole_subjects_of_train_and_plain_crops_only():
    made = table(people(10, views=3) + people(4, "test"))
    split = split_train_dev(made, seed=0)
    subject, view = np.array(made["subject"].to_pylist()), made["view"].to_numpy()
    assert not set(subject[split.train]) & set(subject[split.dev])
    assert set(split.dev_subjects) == set(subject[split.dev])
    assert len(split.dev_subjects) == 2
    assert (view[split.dev] == 0).all()
    assert set(view[split.train]) == {0, 1, 2}
    assert set(np.array(made["split"].to_pylist())[np.concatenate([split.train, split.dev])]) == {"train"}
    assert "no dev split" in split.rule


def test_seed_chooses_and_a_new_subject_does_not_reshuffle_the_others():
    made = table(people(40))
    first = split_train_dev(made, seed=1)
    assert first.dev_subjects == split_train_dev(made, seed=1).dev_subjects
    assert first.dev_subjects != split_train_dev(made, seed=2).dev_subjects
    more = split_train_dev(table(people(41)), seed=1)
    assert len(set(first.dev_subjects) ^ set(more.dev_subjects)) <= 2


def test_the_stores_own_dev_split_is_used():
    made = table(people(5) + people(3, "dev", views=2))
    split = split_train_dev(made, seed=0)
    assert split.rule == "the store's dev split"
    assert split.dev_subjects == ["d/dev0", "d/dev1", "d/dev2"]
    assert len(split.train_subjects) == 5
    assert len(split.dev) == 6


def test_samples_without_a_subject_are_kept_together_by_medium():
    rows = [("train", "", i % 2, view, f"{i}.png") for i in range(20) for view in (0, 1)]
    split = split_train_dev(table(rows), seed=0)
    path = np.array([r[4] for r in rows])
    assert not set(path[split.train]) & set(path[split.dev])
    assert split.train_subjects == []


def test_dev_takes_subjects_until_it_has_both_classes():
    rows = [("train", f"d/{s}", int(s % 5 == 0), 0, f"{s}.png") for s in range(20)]  # few subjects have spoofs
    for seed in range(5):
        split = split_train_dev(table(rows), seed=seed, dev_share=0.1)
        assert {rows[i][2] for i in split.dev} == {0, 1}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (people(4, "test"), "no samples with split 'train'; the store has 'test': 8"),
        ([], "no samples at all"),
        (people(1), "it has 1 subject"),
        ([r for r in people(6) if r[2] == 0], "no spoof samples"),
        ([*people(3), ("dev", "d/train0", 0, 0, "x.png")], "in both train and dev"),
        ([*people(3), ("dev", "d/x", 0, 0, "x.png")], "the dev side has no spoof samples"),
    ],
)
def test_a_store_that_cannot_be_split_says_why(rows, message):
    with pytest.raises(TrainingError, match=message):
        split_train_dev(table(rows), seed=0)


def test_rows_of_a_split_and_of_one_that_is_not_there():
    made = table(people(2, views=2) + people(1, "test", views=2))
    assert rows_of(made, "test").tolist() == [8, 10]
    with pytest.raises(TrainingError, match="no samples with split 'dev'; the store has 'test': 4, 'train': 8"):
        rows_of(made, "dev")


def test_every_batch_is_half_live_and_every_sample_comes_before_any_comes_again():
    live, spoof = np.arange(7), np.arange(100, 130)
    sampler = BalancedSampler([[live], [spoof]], seed=0)
    for step in range(40):
        rows, _ = sampler.draw(step * 8, 8)
        assert (rows < 100).sum() == 4
    rows, passes = sampler.draw(0, 60)
    assert sorted(rows[rows >= 100]) == spoof.tolist()
    for turn in range(4):
        assert sorted(rows[(rows < 100) & (passes == turn)]) == live.tolist()
    assert rows[rows < 100][:7].tolist() != rows[rows < 100][7:14].tolist()  # a new order every pass


def test_sequence_can_be_continued_anywhere():
    groups = [[np.arange(7)], [np.arange(100, 105), np.arange(200, 203)]]
    whole, _ = BalancedSampler(groups, seed=3).draw(0, 96)
    other = BalancedSampler(groups, seed=3)
    parts = [other.draw(start, 12)[0] for start in (84, 0, 36)]  # in any order, by a sampler that saw nothing else
    assert np.concatenate(parts).tolist() == [*whole[84:96], *whole[0:12], *whole[36:48]]
    assert whole.tolist() != BalancedSampler(groups, seed=4).draw(0, 96)[0].tolist()


def test_domains_of_a_class_come_in_turn_and_classes_stay_equal():
    rows = [("train", f"d{d}/{i}", c, 0, f"{d}{c}{i}.png") for d in range(3) for c in (0, 1) for i in range(4 + 30 * d)]
    rows = [r for r in rows if r[1][:2] != "d2" or r[2] == 1]  # the third domain has no live samples
    made = table(rows)
    made = made.set_column(made.schema.get_field_index("dataset"), "dataset", [[r[1][:2] for r in rows]])
    chosen, _ = BalancedSampler(groups_of(made, np.arange(len(rows)), "class-domain"), seed=0).draw(0, 24)
    names = [(rows[i][2], rows[i][1][:2]) for i in chosen]
    counts = {name: names.count(name) for name in set(names)}
    assert counts == {(0, "d0"): 6, (0, "d1"): 6, (1, "d0"): 4, (1, "d1"): 4, (1, "d2"): 4}
    as_stored = BalancedSampler(groups_of(made, np.arange(len(rows)), "none"), seed=0)
    assert sorted(as_stored.draw(0, len(rows))[0]) == list(range(len(rows)))


def test_an_empty_group_is_refused():
    with pytest.raises(TrainingError, match="empty group"):
        BalancedSampler([[np.arange(3)], [np.arange(0)]], seed=0)


def test_a_real_store_is_split_and_sampled(store):
    data = DepthDataset(str(store))
    split = split_train_dev(data.table, seed=0)
    [[live], [spoof]] = groups_of(data.table, split.train, "class-domain")
    assert len(live) == len(spoof) == 64
    assert all(int(data[int(i)]["label"]) == 0 for i in live[:5])
    assert all(int(data[int(i)]["label"]) == 1 for i in spoof[:5])
