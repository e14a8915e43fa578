"""When a new snapshot is worth a training, and that it gets only one.

The folders of a store's models lie side by side, `STORE.models/<snapshot>`. A run claims its folder by creating
`claim.json` there and notes what it trained in `trained.json`: events that come twice, restarted servers and
retried runs all meet the same two files.
"""

import json
import os
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from storage.errors import StoreError
from storage.snapshot import open_snapshot

CLAIM, TRAINED = "claim.json", "trained.json"


class TrainPolicy(BaseModel):
    """Which snapshots are trained on when nobody asked for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_new_samples: int = Field(
        1, ge=0, description="samples that the last model has not seen; fewer start no training"
    )
    min_hours: float = Field(0.0, ge=0, description="hours since the last model; sooner starts no training")


def reason_to_wait(store: str, out: Path, policy: TrainPolicy) -> str | None:
    """Why no model is to be trained on this snapshot now, in one sentence; None if one is."""
    earlier = [trained for path in sorted(out.parent.glob(f"*/{TRAINED}")) if (trained := _read(path))]
    if not earlier:
        return None
    last = max(earlier, key=lambda trained: trained["finished"])
    hours = (time.time() - last["finished"]) / 3600
    if hours < policy.min_hours:
        return f"the last model is {hours:.1f} hours old; the policy asks for {policy.min_hours:g}"
    new = new_samples(store, last["store"])
    if new < policy.min_new_samples:
        return f"{new:,} samples are new since {last['store']}; the policy asks for {policy.min_new_samples:,}"
    return None


def new_samples(store: str, earlier: str) -> int:
    """How many samples of `store` the snapshot `earlier` does not hold; all, if that one was vacuumed."""
    now = open_snapshot(store).columns(["sample_id"])["sample_id"]
    try:
        before = open_snapshot(earlier).columns(["sample_id"])["sample_id"]
    except StoreError:
        return len(now)
    return int(len(now) - pc.sum(pc.is_in(now, value_set=before)).as_py()) if len(now) else 0


def claim(out: Path, run_id: UUID) -> str | None:
    """Make the folder `out` this run's; the sentence that says whose it is, if it is another's."""
    done = _read(out / TRAINED)
    if done:
        return f"{out}: trained already, from {done['store']}"
    out.mkdir(parents=True, exist_ok=True)
    mine = json.dumps({"run": str(run_id), "since": time.time()})
    path = out / CLAIM
    try:
        with path.open("x") as file:
            file.write(mine)
        return None
    except FileExistsError:
        holder = _read(path)
    if holder and holder["run"] != str(run_id) and _is_alive(UUID(holder["run"])):
        return f"{out}: run {holder['run']} is training there"
    # ours from before a retry, or of a run that is over without a model: go on where it was
    replacement = path.with_suffix(f".{run_id}")
    replacement.write_text(mine)
    os.replace(replacement, path)
    return None


def note_trained(out: Path, store: str, samples: int) -> None:
    """Say that the model in `out` is complete."""
    partial = out / f"{TRAINED}.partial"
    partial.write_text(json.dumps({"store": store, "samples": samples, "finished": time.time()}))
    os.replace(partial, out / TRAINED)


def _is_alive(run_id: UUID) -> bool:
    """Whether Prefect knows the run and it has not ended."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            state = client.read_flow_run(run_id).state
        except ObjectNotFound:
            return False
    return state is not None and not state.is_final()


def _read(path: Path) -> dict[str, Any] | None:
    """A small JSON object; None if it is not there or was cut short."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
