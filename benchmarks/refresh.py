"""A refresh with nothing to do: seconds and memory for a million media that the store holds already.

    python benchmarks/refresh.py                      # 1,000,000 media; their set-up, minutes, is kept in --work
    python benchmarks/refresh.py --media 50000

The media are empty files in the layout of `folder`: every one of them is scanned, compared and known (as a reject), as
pictures would be. The store is made by the real steps. Measured is a process of its own: scan, plan, the decision that
nothing is to be done, and the summary. CPU is user + system; the bar is 60 s of wall on 2 cores and 2 GB.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


def make_tree(root: Path, media: int) -> None:
    """`media` empty files, 100 a subject, two thirds of them spoofs."""
    if (root / "done").exists():
        return
    for subject in range(-(-media // 100)):
        kind = ("live", "spoof/print", "spoof/replay")[subject % 3]
        folder = root / "data" / ("train", "train", "train", "dev", "test")[subject % 5] / kind / f"{subject:06}"
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(min(100, media - subject * 100)):
            os.close(os.open(folder / f"{number:03}.jpg", os.O_CREAT))
    (root / "done").touch()


def make_store(root: Path) -> None:
    """A store of the tree, by the steps of a build."""
    from storage.snapshot import Store
    from tasks.config import BuildConfig
    from tasks.lineage import lineage
    from tasks.plan import plan_build
    from tasks.shard import build_shard
    from tasks.sources import scan

    store, config = Store(root / "store"), BuildConfig()
    if store.current() is not None:
        return
    scans = [scan("folder", root / "data")]
    shards = [build_shard(plan, config, root / "store")[0] for plan in plan_build(scans, None, config).shards]
    store.commit(shards, parent=None, config={}, lineage=lineage(scans, config))


def measure(root: Path) -> dict[str, float]:
    """One refresh in this process."""
    from storage.snapshot import Store
    from tasks.build import build_store
    from tasks.config import BuildConfig
    from tasks.sources import scan

    config = BuildConfig()
    config.digest()  # loads the networks, once and whatever the number of media
    figures, started, cpu = {}, time.perf_counter(), time.process_time()

    def note(name: str) -> None:
        nonlocal started, cpu
        figures[f"{name}_wall"], figures[f"{name}_cpu"] = time.perf_counter() - started, time.process_time() - cpu
        started, cpu = time.perf_counter(), time.process_time()

    scans = [scan("folder", root / "data")]
    note("scan")
    done = build_store(Store(root / "store"), scans, config, lambda plan: [], refuse)
    note("plan")
    assert not done.committed
    rejects = done.snapshot.reject_reasons()
    note("summary")
    assert sum(rejects.values()) == done.plan.unchanged == len(scans[0].media)
    figures["media"] = done.plan.unchanged
    figures["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return figures


def refuse(*_: object):
    raise AssertionError("there is nothing to commit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=int, default=1_000_000)
    parser.add_argument("--work", type=Path, default=Path("/tmp/pseudodepth-refresh"), help="kept for the next run")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    root = options.work / str(options.media)
    if options.measure:
        print(json.dumps(measure(root)))
        return
    make_tree(root, options.media)
    make_store(root)
    command = [sys.executable, __file__, "--media", str(options.media), "--work", str(options.work), "--measure"]
    figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    wall, cpu = (sum(figures[f"{part}_{kind}"] for part in ("scan", "plan", "summary")) for kind in ("wall", "cpu"))
    for part in ("scan", "plan", "summary"):
        print(f"{part:8} {figures[f'{part}_wall']:7.1f} s wall {figures[f'{part}_cpu']:7.1f} s CPU")
    print(
        f"{'all':8} {wall:7.1f} s wall {cpu:7.1f} s CPU, {figures['media']:,} media, peak {figures['peak_mb']:,.0f} MB"
    )
    met = wall < 60 and figures["peak_mb"] < 2048
    print(f"bar: 60 s on 2 cores and 2,048 MB for 1,000,000: {'met' if met else 'MISSED'}")


if __name__ == "__main__":
    main()
