"""How fast datasets are listed: real trees of files, scanned into one Arrow table, in media a second and peak memory.

    python benchmarks/scan.py                        # 100,000 media of each layout
    python benchmarks/scan.py --media 1000000 oulu-npu

Each tree is scanned in a process of its own, twice: the first scan warms the caches, the second one counts.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

BOX = b"61 45 61 112 0.9970805\n"


def celeba_spoof(media: int) -> Iterator[tuple[str, bytes]]:
    """Pictures with a box file each, 50 a subject, and their entries in the json files."""
    entries: dict[str, dict[str, list[int]]] = {"train": {}, "test": {}}
    for n in range(media):
        split, label = ("test" if n // 50 % 10 == 0 else "train"), n % 4 > 0
        stem = f"Data/{split}/{n // 50}/{'spoof' if label else 'live'}/{n:06}"
        entries[split][f"{stem}.jpg"] = [n >> bit & 1 for bit in range(40)] + [
            1 + n % 10 if label else 0,
            1,
            1,
            int(label),
        ]
        yield f"{stem}.jpg", b""
        yield f"{stem}_BB.txt", BOX
    for split, content in entries.items():
        yield f"metas/intra_test/{split}_label.json", json.dumps(content).encode()


def casia_surf(media: int) -> Iterator[tuple[str, bytes]]:
    """Pictures in clips of 25, four clips a subject."""
    clips = ("real_part/{}/real", "fake_part/{}/04_en_b", "fake_part/{}/05_enm_s", "fake_part/{}/06_enm_b")
    for n in range(media):
        split = ("Training", "Val", "Testing")[n // 100 % 3]
        clip = clips[n // 25 % 4].format(f"CLKJ_AS{n // 100:05}")
        yield f"Data/{split}/{clip}.rssdk/color/{n % 25:04}.jpg", b""


def siw(media: int) -> Iterator[tuple[str, bytes]]:
    """Videos with a file of faces each, 40 a subject."""
    for n in range(media):
        split, subject = ("Train", "Test")[n // 40 % 2], n // 80 % 1000
        kind, digit = ("live", 1) if n % 4 == 0 else ("spoof", 3)
        stem = f"{split}/{kind}/{subject:03}/{subject:03}-{n % 10}-{digit}-{n % 4}-{n // 10 % 4}"
        yield f"{stem}.mov", b""
        yield f"{stem}.face", b"1 2 3 4\n"


LAYOUTS = {"celeba-spoof": celeba_spoof, "casia-surf": casia_surf, "siw": siw}


def make(root: Path, files: Iterator[tuple[str, bytes]]) -> None:
    made: set[str] = set()
    for name, content in files:
        folder = os.path.join(root, os.path.dirname(name))
        if folder not in made:
            os.makedirs(folder, exist_ok=True)
            made.add(folder)
        with open(os.path.join(root, name), "wb", buffering=0) as file:
            file.write(content)


def measure(source: str, root: str) -> None:
    """One scan; prints its figures as JSON."""
    from tasks.sources import scan, shared_subjects

    before = time.process_time(), time.perf_counter()
    found = scan(source, root)
    scanned = time.process_time(), time.perf_counter()
    shared_subjects(found.media)
    print(
        json.dumps(
            {
                "media": len(found.media),
                "cpu": scanned[0] - before[0],
                "wall": scanned[1] - before[1],
                "check": time.process_time() - scanned[0],
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("layouts", nargs="*", metavar="LAYOUT", help=f"of {', '.join(LAYOUTS)}; default: all")
    parser.add_argument("--media", type=int, default=100_000)
    parser.add_argument("--measure", nargs=2, metavar=("SOURCE", "ROOT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(*options.measure)
        return
    print(f"{'layout':<14}{'media':>10}{'cpu s':>8}{'wall s':>8}{'media/cpu s':>13}{'check s':>9}{'peak MB':>9}")
    for name in options.layouts or LAYOUTS:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), LAYOUTS[name](options.media))
            for _ in range(2):
                command = [sys.executable, __file__, "--measure", name, folder]
                row = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            rate = row["media"] / row["cpu"]
            print(
                f"{name:<14}{row['media']:>10,}{row['cpu']:>8.1f}{row['wall']:>8.1f}{rate:>13,.0f}"
                f"{row['check']:>9.2f}{row['peak_mb']:>9,.0f}"
            )


if __name__ == "__main__":
    main()
