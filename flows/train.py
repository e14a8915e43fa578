"""Training flows over a store: pretrain-gan, finetune, evaluate, and train-liveness, which runs the three and reports.

pseudodepth pretrain STORE --out runs/gan && pseudodepth finetune STORE --encoder runs/gan --out runs/model
prefect deployment run train-liveness/train-liveness -p store=...
"""

from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.assets import materialize
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.states import Completed

from flows.assets import asset
from flows.progress import Advance, progress_line
from flows.train_policy import TrainPolicy, claim, note_trained, reason_to_wait
from storage.snapshot import open_snapshot
from training.breakdown import Fusion
from training.errors import TrainingError
from training.evaluate import Evaluation
from training.evaluate import evaluate as run_evaluation
from training.finetune import FinetuneConfig
from training.finetune import finetune as run_finetuning
from training.pretrain import PretrainConfig
from training.pretrain import pretrain as run_pretraining
from training.report import write_report

MODEL_TRAINED = "pseudodepth.model.trained"


class Lines:
    """Turns the loop's (stage, done, total, figures) into one progress line a stage."""

    def __init__(self) -> None:
        self.open = ExitStack()
        self.stage = ""
        self.advance: Advance = lambda *_, **__: None
        self.done = 0

    def __call__(self, stage: str, done: int, total: int, figures: dict[str, float]) -> None:
        """As the loop calls it."""
        if stage != self.stage:
            self.open.close()
            self.advance = self.open.enter_context(progress_line(stage, total, "steps"))
            self.stage, self.done = stage, 0
        self.advance(done - self.done, "  ".join(f"{name} {value:.4g}" for name, value in figures.items()))
        self.done = done


def local_folder(text: str, parameter: str = "out") -> Path:
    """The folder of a parameter; raises TrainingError for a URL: stores may be anywhere, models lie on this machine."""
    if "://" in text:
        raise TrainingError(f"{text}: models are written to a folder here; give a local path as `{parameter}`")
    return Path(text)


@flow(name="pretrain-gan", flow_run_name="pretrain-gan {store}", persist_result=False)
def pretrain_gan(store: str, out: str, config: PretrainConfig | None = None) -> str:
    """Train the PDGAN generator and critic on a store; returns the folder that holds the encoder."""
    lines = Lines()
    with lines.open:
        return str(run_pretraining(store, local_folder(out), config or PretrainConfig(), lines))


@flow(name="finetune", flow_run_name="finetune {store}", persist_result=False)
def finetune(store: str, out: str, config: FinetuneConfig | None = None) -> str:
    """Train the liveness classifier, from the pre-trained encoder if the config names one; returns its folder."""
    lines = Lines()
    with lines.open:
        return str(run_finetuning(store, local_folder(out), config or FinetuneConfig(), lines))


@flow(name="evaluate", flow_run_name="evaluate {model}", persist_result=False)
def evaluate(
    store: str,
    model: str,
    out: str,
    split: str = "test",
    threshold: str = "eer",
    fusion: Fusion = "mean",
    groups: list[str] | None = None,
    seen_subjects: bool = False,
    protocol: str | None = None,
) -> Evaluation:
    """Score a split with a threshold that the model carries from its dev split.

    Args:
        store: a store, or one snapshot of it as `path@number`.
        model: folder of a trained model.
        out: folder for evaluation.json and scores.parquet.
        split: the split to score.
        threshold: its name in the model: eer; bpcer10, bpcer5, bpcer1, apcer10, ... for a rate of at most 10 % on dev.
        fusion: how the frames of one video become one score.
        groups: columns, or keys of `extra`, to break rates down by; None takes all that group.
        seen_subjects: score subjects that the model was trained on too; its error rates then flatter.
        protocol: name of a protocol whose test rows are scored instead of a split, or a YAML file of your own.
    """
    return run_evaluation(
        store,
        local_folder(model, "model"),
        local_folder(out),
        split=split,
        protocol=protocol,
        threshold=threshold,
        fusion=fusion,
        groups=groups,
        seen_subjects=seen_subjects,
    )


@flow(name="train-liveness", flow_run_name="train-liveness {store}", persist_result=False)
def train_liveness(
    store: str,
    out: str,
    pretraining: PretrainConfig | None = None,
    finetuning: FinetuneConfig | None = None,
    notes: dict[str, Any] | None = None,
    policy: TrainPolicy | None = None,
) -> Evaluation | State:
    """pretrain-gan → finetune → evaluate → report.html, all under `out`.

    Args:
        store: a store, or one snapshot of it as `path@number`.
        out: folder for the run; the model ends in `out/model`, the report in `out/report.html`.
        pretraining: PDGAN's settings.
        finetuning: the classifier's settings; its encoder is the one that was just pre-trained.
        notes: lines for the report, such as the error against a known truth.
        policy: train only if the snapshot is worth it, and once; the run then ends as `Skipped`. Without one: always.
    """
    folder = local_folder(out)
    if policy is not None:
        wait = reason_to_wait(store, folder, policy) or claim(folder, UUID(flow_run.get_id()))
        if wait:
            get_run_logger().info("not trained: %s", wait)
            return Completed(name="Skipped", message=wait)
    gan = pretrain_gan(store, str(folder / "gan"), pretraining)
    config = (finetuning or FinetuneConfig()).model_copy(update={"encoder": Path(gan)})
    model = finetune(store, str(folder / "model"), config)
    result = evaluate(store, model, str(folder / "evaluation"), protocol=config.protocol)
    report = write_report(store, Path(gan), Path(model), result, folder / "report.html", extra=notes or {})
    made = asset(model, f"liveness model {folder.name}")
    finish.with_options(assets=[made], asset_deps=[asset(store, "store")])(store, folder, str(report))
    return result


@materialize("pseudodepth://model", name="finish", cache_policy=NO_CACHE, persist_result=False)
def finish(store: str, folder: Path, report: str) -> None:
    """Say that the model of a snapshot is complete: beside it, and to whoever waits for the event."""
    note_trained(folder, store, open_snapshot(store).counts["rows"])
    emit_event(
        event=MODEL_TRAINED,
        resource={
            "prefect.resource.id": f"pseudodepth.model.{folder.name}",
            "pseudodepth.model.path": str(folder / "model"),
        },
        payload={"store": store, "model": str(folder / "model"), "report": report},
    )
