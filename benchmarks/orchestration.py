"""What Prefect and Dask cost: the same build by the command and by a plain loop, in one run.

    python benchmarks/orchestration.py                     # 2,000 samples, then 10,000 shards; about ten minutes
    python benchmarks/orchestration.py --samples 400 --shards 500

Each build is a process of its own and its CPU time counts all processes it started: server, scheduler, workers. The
pictures are two packaged photographs, shifted; half are live. The 10,000 shards are empty: what is measured there is
the scheduler and the flow.

How much faster two workers are is told three ways: by the clock, which also tells how many cores the machine has and
what else runs on them; by the clock for two plain loops at once, half of the samples each, which is what the machine
has to give; and by the CPU seconds of the busiest worker, the time of a build where every process has its own core.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import psutil
from PIL import Image

SHARD = 125


def make_dataset(root: Path, samples: int) -> None:
    """`samples` pictures of 480x480 in the layout of the source `folder`."""
    from simulation.packaged import packaged_photographs

    photos = [np.asarray(Image.open(path).convert("RGB").resize((480, 480))) for path in packaged_photographs()]
    for number in range(samples):
        kind = ("live", "spoof/print")[number % 2]
        path = root / "train" / kind / f"subject-{number % 20}" / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(photos[number // 2 % 2], number % 37, axis=1)).save(path, quality=92)


def config():
    from tasks.config import BuildConfig

    return BuildConfig.model_validate({"shard_samples": SHARD})


def loop(dataset: Path, store: Path) -> dict:
    """Scan, plan, build, commit; nothing else."""
    from storage.snapshot import Store
    from tasks.plan import plan_build
    from tasks.shard import build_shard
    from tasks.sources import scan

    settled = config().resolved()
    work = plan_build([scan("folder", dataset)], None, settled)
    built = [build_shard(plan, settled, store)[0] for plan in work.shards]
    Store(store).commit(built, parent=None, config={}, lineage={})
    return {"rows": sum(info.rows for info in built)}


def flow(dataset: Path, store: Path, workers: int) -> dict:
    """The same by the command."""
    from flows.cli import main as command

    options = {"--store": store, "--config": settings_file(store), "--workers": workers}
    sys.argv = ["pseudodepth", "build", f"folder={dataset}", *(str(word) for pair in options.items() for word in pair)]
    try:
        command()
    except SystemExit as end:
        if end.code:
            raise
    from storage.snapshot import open_snapshot

    return {"rows": open_snapshot(str(store)).counts["rows"]}


def settings_file(store: Path) -> Path:
    """The settings of `config` as a file."""
    file = store.with_suffix(".yaml")
    file.write_text(f"shard_samples: {SHARD}\n")
    return file


def many(store: Path, shards: int) -> dict:
    """Empty shards through the fan-out of the flow."""
    from flows.cluster import DaskConfig, dask_client
    from flows.fanout import build_shards, stop_flag
    from tasks.plan import plan_build
    from tasks.sources import scan

    root = store.with_name("one")
    make_dataset(root, 2)
    settled = config().resolved()
    (plan,) = plan_build([scan("folder", root)], None, settled).shards
    from dataclasses import replace

    empty = replace(plan, media=plan.media.slice(0, 0))
    plans = (replace(empty, name=f"empty-{number:05}") for number in range(shards))
    began, finished = time.perf_counter(), []
    with dask_client(DaskConfig(workers=2)) as client, stop_flag(client) as stop:
        build_shards(client, plans, settled, str(store), stop, lambda *_: finished.append(time.perf_counter()))
    return {
        "rows": len(finished),
        "building": finished[-1] - began,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def child(*words: str) -> dict:
    """Run one of the above in a process of its own; its figures, wall and CPU seconds, those of its busiest worker."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, __file__, "--child", *words], stdout=subprocess.PIPE, text=True, env=os.environ | ONE_THREAD
    )
    watched = ThreadPoolExecutor(1).submit(busiest_worker, process.pid)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{words}: ended with status {status}")
    figures = json.loads(output.strip().splitlines()[-1])
    wall, cpu = time.perf_counter() - began, usage.ru_utime + usage.ru_stime
    return figures | {"wall": wall, "cpu": cpu, "busiest": watched.result()}


def busiest_worker(pid: int) -> float:
    """CPU seconds of the busiest Dask worker below a process, when that has ended; 0.2 s too few at most."""
    used = {0: 0.0}
    with contextlib.suppress(psutil.NoSuchProcess):
        while (root := psutil.Process(pid)).status() != psutil.STATUS_ZOMBIE:
            for process in root.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                    if any("multiprocessing.spawn" in word for word in process.cmdline()):
                        times = process.cpu_times()
                        used[process.pid] = times.user + times.system
            time.sleep(0.2)
    return max(used.values())


def at_once(*runs: tuple[str, ...]) -> dict:
    """Children that run beside each other: rows and CPU seconds of all, wall seconds and the busiest worker."""
    with ThreadPoolExecutor(len(runs)) as pool:
        found = list(pool.map(lambda words: child(*words), runs))
    total = {name: sum(one[name] for one in found) for name in ("rows", "cpu")}
    return total | {name: max(one[name] for one in found) for name in ("wall", "busiest")}


ONE_THREAD = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=1, help="take the least of so many, on a machine with other work")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        kind, *words = options.child
        call = {"loop": loop, "flow": flow, "many": many}[kind]
        print(json.dumps(call(*(int(word) if word.isdigit() else Path(word) for word in words))))
        return
    with tempfile.TemporaryDirectory() as folder:
        dataset, half, small = (Path(folder) / name for name in ("dataset", "half", "small"))
        make_dataset(dataset, options.samples)
        make_dataset(half, options.samples // 2)
        # the smallest build's time is what does not grow with the data
        make_dataset(small, 2)
        builds = {
            "plain loop": [("loop", dataset)],
            "two plain loops, half each": [("loop", half)] * 2,
            "command, 1 worker": [("flow", dataset, 1)],
            "command, 2 workers": [("flow", dataset, 2)],
            "plain loop, 2 samples": [("loop", small)],
            "command, 2 samples": [("flow", small, 1)],
        }
        runs: dict[str, dict] = {}
        for turn in range(options.repeat):
            for number, (name, children) in enumerate(builds.items()):
                run = at_once(
                    *(
                        (kind, str(root), f"{folder}/store-{turn}-{number}-{k}", *map(str, workers))
                        for k, (kind, root, *workers) in enumerate(children)
                    )
                )
                runs[name] = {figure: min(value, runs.get(name, run)[figure]) for figure, value in run.items()}
        print(
            f"\n{options.samples} samples in shards of {SHARD}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
            f"the least of {options.repeat}"
        )
        print(f"{'':<28}{'samples':>9}{'wall s':>9}{'CPU s':>9}{'of the busiest worker':>23}")
        for name, run in runs.items():
            print(f"{name:<28}{run['rows']:>9}{run['wall']:>9.1f}{run['cpu']:>9.1f}{run['busiest']:>23.1f}")
        base, loops, one, two, no, few = runs.values()
        start, fixed = few["wall"] - no["wall"], few["cpu"] - no["cpu"]
        more = (one["cpu"] - fixed) / base["cpu"] - 1
        faster = {name: (one[name] - few[name]) / (two[name] - few[name]) for name in ("wall", "busiest")}
        most = (base["wall"] - no["wall"]) / (loops["wall"] - no["wall"])
        print(f"constant start and end: {start:.1f} s more wall, {fixed:.1f} s more CPU than the loop's")
        print(f"beyond that, the command takes {100 * more:.1f} % more CPU than the loop")
        print(
            f"beyond that, 2 workers are {faster['busiest']:.2f} times as fast as 1 by the CPU time of the busier, "
            f"{faster['wall']:.2f} by the clock; two plain loops at once {most:.2f} by the clock"
        )
        crowd = child("many", f"{folder}/many", str(options.shards))
        print(
            f"{crowd['rows']} empty shards: {crowd['building']:.0f} s, {1e3 * crowd['cpu'] / crowd['rows']:.0f} ms "
            f"CPU a shard over all processes; scheduler and flow in one process, {crowd['peak_mb']:.0f} MB at most"
        )
        bars = {
            "at most 5 % more CPU": more <= 0.05,
            "at most 8 s of start-up": start <= 8,
            "2 workers at least 1.8 times as fast (CPU time)": faster["busiest"] >= 1.8,
            "scheduler and flow under 1 GB": crowd["peak_mb"] < 1024,
        }
        for name, met in bars.items():
            print(f"  bar: {name:<44}{'met' if met else 'MISSED'}")


if __name__ == "__main__":
    main()
