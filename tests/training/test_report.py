"""The page that is shown to people, its figures as JSON, and what it may not leave out."""

import dataclasses
import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from tests.fixtures.balls import build_store
from training import report_tables
from training.breakdown import NonResponse
from training.checkpoint import load_json
from training.errors import TrainingError
from training.evaluate import evaluate, read_evaluation
from training.intervals import rate_interval
from training.provenance import code_version
from training.report import write_report


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.sources, self.open, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_report_is_one_page_that_needs_nothing_else(trained, tmp_path):
    extra = {"simulated": "Drawn <people>.", "truth": {"mean absolute error": 0.0312}, "notes": ["A note."]}
    page = write_report(
        str(trained.store), trained.pretrained, trained.model, trained.evaluation, tmp_path / "r.html", extra
    )
    links = Links()
    links.feed(page.read_text())
    assert links.open == []
    assert all(source.startswith("data:image/") for source in links.sources)
    assert len(links.sources) > 60
    text = re.sub(r"\s+", " ", links.text)
    card = load_json(trained.model / "model.json")
    for words in (
        "Drawn <people>.",
        "A note.",
        "0.0312",
        "dev threshold",
        "oracle",
        "in the style of ISO/IEC 30107-3",
        "BPCER at APCER ≤ 5 %",
        "TPR at FPR ≤ 0.1 %",
        "4 subjects are too few",
        "What the trained network sees",
        "replay",
        card["weights"]["sha256"],
        "snapshot 1",
        "712,465 parameters",
        f"{trained.evaluation.metrics.threshold:.4f}",
    ):
        assert words in text, words
    assert "certified" not in page.read_text().lower()
    assert "trained this model or set its threshold" not in text


def test_report_without_pretraining(store, trained, tmp_path):
    page = write_report(str(store), None, trained.model, trained.evaluation, tmp_path / "r.html")
    assert "Depth that the generator draws" not in page.read_text()


def test_report_of_half_a_run_names_the_file(trained, tmp_path):
    half = tmp_path / "pre"
    shutil.copytree(trained.pretrained, half)
    (half / "model.json").unlink()
    with pytest.raises(TrainingError, match=r"model\.json: cannot read it"):
        write_report(str(trained.store), half, trained.model, trained.evaluation, tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_the_figures_are_also_json(trained, tmp_path):
    page = write_report(str(trained.store), None, trained.model, trained.evaluation, tmp_path / "r.html")
    facts = json.loads(page.with_suffix(".json").read_text())
    assert facts["evaluation"] == trained.evaluation.to_json()
    assert facts["model"]["weights"] == load_json(trained.model / "model.json")["weights"]
    assert {row["name"] for row in facts["rates"]} >= {"AUC", "APCER", "BPCER", "ACER", "EER"}
    assert ["Code of this report", code_version()] in facts["lineage"]


def test_an_evaluation_on_seen_subjects_is_said_to_be_one(trained, tmp_path):
    flattering = evaluate(str(trained.store), trained.model, tmp_path / "e", split="train", seen_subjects=True)
    page = write_report(str(trained.store), None, trained.model, flattering, tmp_path / "r.html")
    assert "10 of the scored subjects, such as balls/s0, trained this model" in page.read_text()


def test_an_attack_of_which_nothing_was_scored_is_in_the_table(trained):
    silent = NonResponse("mask", 3, 3, rate_interval(3, 3), {"no-face": 3}, 0)
    rows = report_tables.kinds(dataclasses.replace(trained.evaluation, non_response=[silent]))
    assert [row["kind"] for row in rows] == ["bona fide (live)", "mask", "print", "replay"]
    mask = rows[1]
    assert (mask["samples"], mask["fixed"], mask["interval"]) == (0, None, None)
    assert (mask["unscored"], mask["asked"], mask["reasons"]) == (3, 3, "3 no-face")


def test_the_interval_of_apcer_without_a_bootstrap_is_the_worst_species(trained):
    rows = {row["name"]: row for row in report_tables.rates(trained.evaluation)}
    worst = trained.evaluation.metrics.apcer_attack
    assert rows["APCER"]["interval"] == trained.evaluation.samples.intervals[f"apcer:{worst}"]
    assert rows["ACER"]["interval"] is None


def test_an_evaluation_comes_back_as_it_was_written(trained, tmp_path):
    folder = trained.model.parent / "eval"
    assert read_evaluation(folder) == trained.evaluation
    content = load_json(folder / "evaluation.json")
    (tmp_path / "evaluation.json").write_text(json.dumps({**content, "metrics": {"auc": "high"}}))
    with pytest.raises(TrainingError, match=r"evaluation\.json: metrics\.positive_class"):
        read_evaluation(tmp_path)


def test_a_store_without_the_scored_samples_is_refused(trained, tmp_path):
    other = build_store(tmp_path / "other", {"test": ["z"]}, each=4)
    with pytest.raises(TrainingError, match=r"it lacks the scored sample .*STORE@N"):
        write_report(str(other), None, trained.model, trained.evaluation, tmp_path / "r.html")


def test_equal_embeddings_give_equal_pictures(trained, tmp_path):
    pages = [
        write_report(str(trained.store), None, trained.model, trained.evaluation, tmp_path / f"{i}.html")
        for i in range(2)
    ]
    first, second = (re.sub(r"Written [^.]*", "", page.read_text()) for page in pages)
    assert first == second
