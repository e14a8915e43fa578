"""A grid of cells over a small real store: found again, continued, and put into a table that mixes nothing."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import ValidationError

import training.experiments.cell as cell_module
from tests.fixtures.balls import FAST, FAST_PDGAN, build_store
from tests.fixtures.clips import build_clip_store
from training.config import TrainConfig
from training.errors import TrainingError
from training.experiments import Grid, experiments, find_experiment, plan, run_cell, write_table
from training.experiments.cell import finished
from training.experiments.experiment import Experiment
from training.experiments.pictures import draw_pictures
from training.experiments.table import lines_of
from training.methods import METHODS, get_method
from training.metrics import f1
from training.pretrain import PretrainConfig
from training.protocols import protocols

PDGAN = FAST_PDGAN.model_copy(update={"warmup_epochs": 1, "adversarial_epochs": 0}).model_dump(mode="json")
SMALL = Experiment.model_validate(
    {
        "name": "small",
        "title": "Small",
        "source": "a paper",
        "protocol": "own-splits",
        "published_threshold": "oracle",
        "figures": ["pdgan", "det"],
        "columns": {"parameters": "M", "bpcer": "BPCER", "hter": "ACER", "f1_even": "F1"},
        "rows": [
            {"name": "copied", "title": "Copied", "published": {"hter": 0.0163}},
            {"name": "plain", "title": "Plain", "method": "pdgan", "published": {"bpcer": 0.125, "hter": [0.3, 0.04]}},
            {"name": "gan", "title": "GAN", "method": "pdgan", "pretrain": {"pdgan": PDGAN}},
            {"name": "gan-multi", "title": "Multi", "method": "pdgan", "pretrain": {"pdgan": PDGAN}},
            {
                "name": "given",
                "title": "Given",
                "method": "pdgan",
                "weights": "imagenet",
                "published": {"bpcer": 0.0958},
            },
            {"name": "else", "title": "Elsewhere", "method": "pdgan", "protocol": "celeba-spoof-intra"},
        ],
    }
)
HEAD = "{name: a, title: a, source: a, protocol: p, "
CHANGES = {"run": FAST, "settings": {"epochs": 1}}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> str:
    people = {"train": [f"s{i}" for i in range(4)], "test": ["t0", "t1"]}
    return str(build_store(tmp_path_factory.mktemp("balls"), people, each=8))


class Killed(BaseException):
    """As an interruption is: nobody handles it."""


def test_a_killed_grid_goes_on_where_it_was_and_repeats_nothing(tiny, tmp_path, monkeypatch):
    grid = plan(SMALL, [tiny], seeds=[0, 1], changes=CHANGES)
    assert [cell.label for cell in grid.cells[:3]] == [
        f"{row}-own-splits-seed0" for row in ("plain", "gan", "gan-multi")
    ]
    done: list[str] = []
    monkeypatch.setattr(cell_module, "pretrain", _noted(done, cell_module.pretrain, 1))
    monkeypatch.setattr(cell_module, "train", _noted(done, cell_module.train, 1))
    evaluate = cell_module.evaluate

    def die_after_the_second(*args, **options):
        if len([name for name in done if name.startswith("pdgan")]) == 2:
            raise Killed
        return evaluate(*args, **options)

    monkeypatch.setattr(cell_module, "evaluate", die_after_the_second)
    with pytest.raises(Killed):
        run_all(grid, tmp_path)
    assert [finished(cell, tmp_path) is not None for cell in grid.cells] == [True, False, False, False, False, False]
    first = (grid.cells[0].folder(tmp_path) / "cell.json").read_bytes()

    monkeypatch.setattr(cell_module, "evaluate", evaluate)
    results = run_all(plan(SMALL, [tiny], seeds=[0, 1], changes=CHANGES), tmp_path)
    # two trainings a seed (gan and gan-multi differ in name alone) and one pre-training, none twice
    trainings = {cell.training_folder(tmp_path).name for cell in grid.cells}
    assert len(trainings) == 4
    assert sorted(name for name in done if not name.startswith("seed")) == sorted(trainings)
    assert sorted(name for name in done if name.startswith("seed")) == sorted(
        {cell.pretraining_folder(tmp_path).name for cell in grid.cells if cell.pretraining}
    )
    assert (grid.cells[0].folder(tmp_path) / "cell.json").read_bytes() == first
    assert len({result["digest"] for result in results}) == 6 - 2  # gan and gan-multi differ in name alone

    titles = draw_pictures(grid, results, tmp_path)
    names = [path.name for path in titles.values()]
    assert names == ["det.svg", *(f"figure-{n}" for n in ("1.png", "4.png", "5.png", "6.png", "7.svg"))]
    for path in titles.values():
        if path.suffix == ".png":  # not an empty sheet: crops and depth have colours
            assert np.asarray(Image.open(tmp_path / path).convert("RGB")).std() > 20
    assert "<!-- gan-multi -->" in (tmp_path / "figures" / "det.svg").read_text()  # one curve a measured row
    assert "<!-- PDGAN encoder (gan) -->" in (tmp_path / "figures" / "figure-7.svg").read_text()

    lines = {line.row: line for line in write_table(grid, results, tmp_path)}
    rates = [result["levels"]["sample"]["dev"]["bpcer"] for result in results if result["row"] == "plain"]
    assert lines["plain"].measured["dev"]["bpcer"].mean == pytest.approx(sum(rates) / 2)
    assert lines["plain"].measured["dev"]["parameters"].mean == pytest.approx(0.712465)


def run_all(grid: Grid, out: Path) -> list[dict]:
    return [run_cell(cell, out) for cell in grid.cells]


def _noted(done: list[str], function, place: int):
    def noting(*args, **options):
        done.append(Path(args[place]).name)
        return function(*args, **options)

    return noting


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"run": {**FAST, "loop": {"track": []}}}, True),  # what is watched changes no figure
        ({"run": {**FAST, "batch": 8}}, False),
        ({"settings": {"epochs": 2}}, False),
    ],
)
def test_a_cell_is_what_its_figures_follow_from(tiny, change, same):
    cells = [plan(SMALL, [tiny], seeds=[0], changes={**CHANGES, **more}).cells[0] for more in ({}, change)]
    assert (cells[0].digest == cells[1].digest) is same
    assert cells[0].digest != plan(SMALL, [tiny], seeds=[1], changes=CHANGES).cells[0].digest


def test_settings_of_one_row_lie_over_those_of_all(tiny):
    changes = {**CHANGES, "rows": {"gan": {"settings": {"epochs": 3}, "run": {"batch": 8}}}}
    cells = {cell.row: cell for cell in plan(SMALL, [tiny], seeds=[0], changes=changes).cells}
    assert {row: (cell.settings.epochs, cell.config.batch) for row, cell in cells.items()} == {
        "plain": (1, 16),
        "gan": (3, 8),
        "gan-multi": (1, 16),
    }
    assert cells["gan"].pretraining.batch == 8  # as with settings of all rows


def test_a_method_of_clips_is_not_measured_on_pictures(tiny):
    rows = [{"name": name, "title": name, "method": name} for name in ("resnet18", "fas-sgtd")]
    grid = plan(Experiment.model_validate(SMALL.model_dump(mode="json") | {"rows": rows}), [tiny], seeds=[0])
    assert [cell.row for cell in grid.cells] == ["resnet18"]
    assert "no clip of 5 frames, 3 apart" in grid.missing["fas-sgtd"]


def test_a_row_learns_from_the_store_with_the_depth_it_asks_for(tmp_path):
    people = {"train": ["a", "b", "c", "d"], "test": ["e"]}
    generated, real = (
        str(build_clip_store(tmp_path / name, people, extra=extra))
        for name, extra in (("generated", "{}"), ("real", '{"depth_real": true}'))
    )
    found = find_experiment("fas-sgtd-real-depth")
    for stores in ([generated, real], [real, generated]):
        cells = {cell.row: cell for cell in plan(found, stores, seeds=[0]).cells}
        assert {row: str(cell.train_store.root) for row, cell in cells.items()} == {
            "generated": generated,
            "real": real,
        }
        assert {str(cell.test_store.root) for cell in cells.values()} == {stores[-1]}  # the same for both
    alone = plan(found, [generated], seeds=[0])
    assert [cell.row for cell in alone.cells] == ["generated"]
    assert "have real depth" in alone.missing["real"]


def test_a_cell_of_other_samples_is_another_cell(tiny, tmp_path):
    other = str(build_store(tmp_path / "other", {"train": ["a", "b", "c"], "test": ["d"]}, each=8))
    digests = {plan(SMALL, [s], seeds=[0], changes=CHANGES).cells[0].digest for s in (tiny, other)}
    across = plan(SMALL, [tiny, other], seeds=[0], changes=CHANGES).cells[0]
    assert len(digests | {across.digest}) == 3
    assert (str(across.train_store.root), str(across.test_store.root)) == (tiny, other)


def test_what_is_trained_on_the_same_samples_is_trained_once_and_tested_wherever(tmp_path):
    stores = []
    for name in ("here", "there"):
        people = {"train": [f"{name}{i}" for i in range(4)], "test": [f"{name}-t"]}
        stores.append(str(build_store(tmp_path / name, people, each=8, dataset=name)))
    file = tmp_path / "mine.yaml"
    entry = "- {{name: {0}, title: A, source: a, metric: {{name: acer, level: image, apcer: pooled}}, dev: 0.5, {1}}}\n"
    clauses = {
        "intra": "train: {dataset: here, split: train}, test: {dataset: here, split: test}",
        "inter": "train: {dataset: here, split: train}, test: {dataset: there}",
        "back": "train: {dataset: there, split: train}, test: {dataset: here}",
    }
    file.write_text("".join(entry.format(name, parts) for name, parts in clauses.items()))
    rows = [{"name": name, "title": name, "method": "pdgan", "protocol": f"{file}:{name}"} for name in clauses]
    content = {"name": "x", "title": "x", "source": "x", "protocol": "own-splits", "columns": {"auc": "AUC"}}
    grid = plan(Experiment.model_validate(content | {"rows": rows}), stores, seeds=[0], changes=CHANGES)
    intra, inter, back = grid.cells
    assert intra.training_digest == inter.training_digest != back.training_digest
    assert intra.digest != inter.digest
    results = run_all(grid, tmp_path / "out")
    assert results[0]["model"] == results[1]["model"] != results[2]["model"]
    assert len(list((tmp_path / "out" / "training").iterdir())) == 2
    tested = [
        set(pq.read_table(cell.folder(tmp_path / "out") / "evaluation" / "scores.parquet")["dataset"].to_pylist())
        for cell in grid.cells
    ]
    assert tested == [{"here"}, {"there"}, {"here"}]


def test_a_result_of_something_else_is_not_taken(tiny, tmp_path):
    cell = plan(SMALL, [tiny], seeds=[0], changes=CHANGES).cells[0]
    cell.folder(tmp_path).mkdir(parents=True)
    (cell.folder(tmp_path) / "cell.json").write_text('{"digest": "other"}')
    with pytest.raises(TrainingError, match=r"cell\.json: not the result of this cell"):
        run_cell(cell, tmp_path)


def hand_made(row: str, seed: int, **rates: float) -> dict:
    dev = {"bpcer": 0.1, "apcer_pooled": 0.3, "hter": 0.2, **rates}
    oracle = {**dev, "hter": dev["hter"] / 2}
    levels = {"sample": {"dev": dev, "oracle": oracle}, "presentation": {"dev": dev, "oracle": oracle}}
    return {"row": row, "seed": seed, "protocol": "own-splits", "parameters": 712_465, "levels": levels}


def test_the_table_of_hand_made_cells(tiny, tmp_path):
    grid = plan(SMALL, [tiny], seeds=[0, 1], changes=CHANGES)
    results = [hand_made("plain", 0, hter=0.2), hand_made("plain", 1, hter=0.4), hand_made("gan", 0)]
    failures = {"gan-own-splits-seed1": "the generator draws zeros"}
    write_table(grid, results, tmp_path, failures=failures)
    text = (tmp_path / "table.md").read_text()
    assert "| Copied | published, oracle | – | – | 0.0163 | – |" in text
    assert "| Plain | published, oracle | – | 0.125 | 0.3 ± 0.04 | – |" in text
    f1_even = f1(0.1, 0.3, 0.5)
    assert (
        f"| Plain | ours, dev (2 cells) | 0.71 | 0.1000 ± 0.0000 | 0.3000 ± 0.1414 | {f1_even:.4f} ± 0.0000 |" in text
    )
    assert "| Plain | ours, oracle (2 cells) | 0.71 | 0.1000 ± 0.0000 | 0.1500 ± 0.0707 |" in text
    assert f"| GAN | ours, dev (1 cell) | 0.71 | 0.1000 | 0.2000 | {f1_even:.4f} |" in text
    assert "| Given | ours | not measured | not measured | not measured | not measured |" in text
    assert "- Given: no weights 'imagenet'; bring them as --weights imagenet=FILE" in text
    assert "- Elsewhere: protocol celeba-spoof-intra: train: no samples of celeba-spoof" in text
    assert "- GAN: gan-own-splits-seed1: the generator draws zeros" in text
    rows = list(csv.DictReader((tmp_path / "table.csv").open()))
    plain = {(r["whose"], r["threshold"], r["column"]): r["mean"] for r in rows if r["row"] == "plain"}
    assert plain["published", "oracle", "hter"] == "0.3"
    assert float(plain["measured", "dev", "hter"]) == pytest.approx(0.3)
    assert [r["note"][:12] for r in rows if r["row"] == "given" and r["whose"] == "measured"] == ["not measured"]
    written = {row["row"]: row for row in json.loads((tmp_path / "table.json").read_text())["rows"]}
    assert written["plain"]["published"] == {"bpcer": 0.125, "hter": [0.3, 0.04]}
    assert written["copied"]["measured"] == {}


def test_intervals_and_differences_of_hand_made_cells(tiny, tmp_path):
    content = SMALL.model_dump(mode="json")
    content["rows"][2]["against"] = "plain"
    grid = plan(Experiment.model_validate(content), [tiny], seeds=[0, 1], changes=CHANGES)
    results = [
        *(hand_made("plain", seed, hter=hter) for seed, hter in enumerate((0.2, 0.4))),
        *(hand_made("gan", seed, hter=hter) for seed, hter in ((1, 0.31), (0, 0.15))),
    ]
    for result, bounds in zip(results, ([0.1, 0.3], [0.25, 0.5]), strict=False):
        result["levels"]["sample"]["intervals"] = {"hter": bounds}
    write_table(grid, results, tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert "| Plain | 95 % | – | – | 0.1000 to 0.5000 | – |" in text  # a bound of each cell
    assert text.count("| 95 % |") == 1  # gan's cells have none
    # seed by seed: 0.15 - 0.2 and 0.31 - 0.4; the rows' means differ by 0.07, their deviations are 0.11 and 0.14
    assert "| GAN | difference from plain | +0.00 | +0.0000 ± 0.0000 | -0.0700 ± 0.0283 | +0.0000 ± 0.0000 |" in text
    rows = list(csv.DictReader((tmp_path / "table.csv").open()))
    [plain] = [r for r in rows if (r["row"], r["threshold"], r["column"]) == ("plain", "dev", "hter")]
    assert (float(plain["low"]), float(plain["high"])) == (0.1, 0.5)
    content["rows"][2]["against"] = "plane"
    with pytest.raises(ValidationError, match="row gan is held against 'plane', which is no row"):
        Experiment.model_validate(content)


def test_figures_of_another_protocol_are_not_offered_for_comparison(tiny, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "- {name: mine, title: Mine, source: me, metric: {name: acer, level: image, apcer: pooled},\n"
        "   train: {split: train}, dev: 0.5, test: {split: test}}\n"
    )
    grid = plan(SMALL, [tiny], seeds=[0], protocol=str(mine), changes=CHANGES)
    assert {cell.row for cell in grid.cells} == {"plain", "gan", "gan-multi", "else"}
    write_table(grid, [hand_made("else", 0)], tmp_path)
    assert f"ours of {mine}: they cannot be compared" in (tmp_path / "table.md").read_text()


def test_percent_and_rates_of_whole_media(tiny):
    content = SMALL.model_dump(mode="json") | {"unit": "percent", "level": "presentation"}
    grid = plan(Experiment.model_validate(content), [tiny], seeds=[0], changes=CHANGES)
    result = hand_made("plain", 0)
    result["levels"]["presentation"]["dev"] = {"bpcer": 0.5, "apcer_pooled": 0.1, "hter": 0.3}
    measured = lines_of(grid, [result])[1].measured
    assert measured["dev"]["bpcer"].mean == 50
    assert measured["oracle"]["bpcer"].mean == 10
    assert measured["dev"]["parameters"].mean == pytest.approx(0.712465)


def test_every_shipped_experiment_names_what_exists():
    assert {"pdgan-intra", "pdgan-inter", "pdgan-multihead", "sohn", "simulated", "compare"} <= experiments().keys()
    families = {name for one in protocols().values() for name in (one.name, one.family)} | {"own-splits"}
    for experiment in experiments().values():
        for row in experiment.rows:
            assert (row.protocol or experiment.protocol) in families
            if row.method is not None:
                get_method(row.method).settings.model_validate(row.settings)
                TrainConfig.model_validate(row.run)
                PretrainConfig.model_validate(row.pretrain or {})
    assert {row.method for row in find_experiment("compare").rows} == set(METHODS) - {"pdgan-generator"}


def test_published_pdgan_figures_agree_with_each_other():
    """ACER is the mean of the two rates and F1 follows from them at one live to one spoof: typing errors would show."""
    seen = 0
    for name in ("pdgan-intra", "pdgan-inter", "pdgan-multihead", "pdgan-multihead-inter"):
        for row in find_experiment(name).rows:
            p = row.published
            if "f1_even" in p:
                seen += 1
                assert p["hter"] == pytest.approx((p["bpcer"] + p["apcer_pooled"]) / 2, abs=1.1e-4)
                assert p["f1_even"] == pytest.approx(f1(p["bpcer"], p["apcer_pooled"], 0.5), abs=1.6e-4)
    assert seen == 12


def test_epochs_are_normalised():
    """Encoders that saw the data in their pre-training get so many epochs less."""
    for name in ("pdgan-intra", "pdgan-inter", "pdgan-multihead", "pdgan-multihead-inter", "simulated"):
        spent = set()
        for row in find_experiment(name).rows:
            if row.method:
                before = 0 if row.pretrain is None else PretrainConfig.model_validate(row.pretrain).pdgan.epochs
                spent.add(before + row.settings["epochs"])
        assert len(spent) == 1, name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows: [", "not YAML"),
        ("{name: a, title: a}", "source: Field required"),
        (HEAD + "columns: {tpr: T}, rows: methods}", r"columns\.tpr"),
        (HEAD + "columns: {auc: A}, rows: [{name: r, title: r, published: {eer: 1}}]}", "eer"),
        (HEAD + "columns: {auc: A}, rows: [{name: r, title: r, run: {batch: 2}}]}", "without a method"),
    ],
)
def test_a_file_that_is_no_experiment_is_named(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(TrainingError, match=rf"mine\.yaml.*{message}"):
        find_experiment(path)


def test_wrong_names_and_settings_are_said_before_any_work(tiny):
    with pytest.raises(TrainingError, match=r"no experiment 'pdgan'; there are .*pdgan-intra"):
        find_experiment("pdgan")
    for changes, message in (
        ({"run": {"bach": 3}}, r"row plain: TrainConfig\.bach"),
        ({"settings": {"epochs": 0}}, r"row plain: ClassifierConfig\.epochs"),
        ({"loop": {}}, "there is no loop"),
        ({"rows": {"plane": {}}}, r"rows\.plane: small trains no such row; it has plain, gan"),
        ({"rows": {"plain": {"epochs": 1}}}, r"rows\.ROW and one of them; there is no epochs"),
        ({"rows": {"gan": {"settings": {"epoch": 1}}}}, r"row gan: ClassifierConfig\.epoch"),
    ):
        with pytest.raises(TrainingError, match=message):
            plan(SMALL, [tiny], changes=changes)
