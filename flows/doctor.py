"""What a machine has and lacks for the work, one check at a time, each with what to do about it."""

import importlib.metadata
import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from flows.settings import Settings
from prnet.errors import WeightsError
from storage.errors import StoreError
from tasks.errors import BuildError

Verdict = Literal["ok", "-", "FAIL"]  # "-": not there, and not needed by default
LOW_DISK = 20 << 30
EXTRAS = {
    "openvino": ("openvino", "faster PRNet on a CPU"),
    "bokeh": ("dask", "Dask's performance report"),
    "tensorboard": ("tensorboard", "training curves"),
    "s3fs": ("s3", "stores on S3"),
}


@dataclass(frozen=True)
class Check:
    """One line of the report; `remedy` says what to do, if anything."""

    verdict: Verdict
    what: str
    found: str
    remedy: str = ""


def checks(stores: list[str], settings: Settings) -> Iterator[Check]:
    """Every check in turn; each may take a second or two."""
    yield from _packages()
    yield _attempt("detector", lambda: _detector(settings))
    yield _attempt("aligner facemesh", lambda: _aligner(settings, "facemesh"))
    yield _attempt("aligner prnet", lambda: _aligner(settings, "prnet"))
    yield _gpu()
    yield _dask(settings.dask)
    yield _prefect()
    yield from _extras()
    for store in stores:
        yield _attempt(f"store {store}", partial(_store, store))


def _attempt(what: str, check: Callable[[], Check]) -> Check:
    """The check, or its known error as a failed one."""
    try:
        return check()
    except (BuildError, StoreError, WeightsError, OSError) as error:
        return Check("FAIL", what, str(error))


def _packages() -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check("ok", "python", version)
    wrong = []
    for text in importlib.metadata.requires("pseudodepth") or []:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            wrong.append(f"{requirement.name} {installed}, needs {requirement.specifier}")
    remedy = "pip install --upgrade pseudodepth, in an environment of its own" if wrong else ""
    yield Check("FAIL" if wrong else "ok", "packages", "; ".join(wrong) or "as pyproject.toml asks", remedy)


def _detector(settings: Settings) -> Check:
    from tasks.detect import DetectConfig
    from tasks.detectors import load_detector

    detector = load_detector(DetectConfig(weights=settings.detector_weights))
    return Check("ok", "detector", f"{detector.name}, weights {detector.weights_sha256[:12]}")


def _aligner(settings: Settings, name: Literal["facemesh", "prnet"]) -> Check:
    from tasks.align import AlignConfig
    from tasks.aligners import load_aligner

    config = AlignConfig(aligner=name, face_landmarker=settings.face_landmarker, prnet_weights=settings.prnet_weights)
    aligner = load_aligner(config)
    return Check("ok", f"aligner {name}", f"{aligner.version}, weights {aligner.weights_sha256[:12]}")


def _gpu() -> Check:
    import torch

    if not torch.cuda.is_available():
        return Check("-", "GPU", f"torch {torch.__version__} sees none", "only PRNet and training would use one")
    names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    return Check("ok", "GPU", names)


def _dask(address: str | None) -> Check:
    if not address:
        return Check("ok", "Dask", "local worker processes, one a core")
    from distributed import Client

    try:
        with Client(address, timeout="5s") as client:
            workers = client.scheduler_info(n_workers=-1)["workers"]
            versions = client.get_versions(check=False)
    except OSError:
        return Check("FAIL", "Dask", f"no scheduler answers at {address}", "start it, or unset PSEUDODEPTH_DASK")
    mine = versions["client"]["packages"]
    differing = {
        name
        for worker in versions["workers"].values()
        for name in ("python", "dask", "distributed", "numpy")
        if worker["packages"].get(name) != mine.get(name)
    }
    remedy = "install the same versions there as here" if differing else ""
    found = f"{len(workers)} workers at {address}"
    if differing:
        found += f"; other versions there: {', '.join(sorted(differing))}"
    return Check("FAIL" if differing or not workers else "ok", "Dask", found, remedy)


def _prefect() -> Check:
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    if not url:
        return Check("ok", "Prefect", "no PREFECT_API_URL: a temporary server for each command")
    with get_client(sync_client=True) as client:
        problem = client.api_healthcheck()
        if problem is not None:
            return Check("FAIL", "Prefect", f"{url}: {problem}", "start the server, or unset PREFECT_API_URL")
        count = len(client.read_deployments())
    return Check("ok", "Prefect", f"{url}, {count} deployments", "" if count else "prefect --no-prompt deploy --all")


def _extras() -> Iterator[Check]:
    for module, (extra, use) in EXTRAS.items():
        there = importlib.util.find_spec(module) is not None
        remedy = "" if there else f"pip install 'pseudodepth[{extra}]', if you want it"
        yield Check("ok" if there else "-", f"extra {extra}", use, remedy)


def _store(url: str) -> Check:
    from storage.snapshot import Store

    store = Store(url)
    what = f"store {url}"
    folder = None if "://" in str(store.root) else Path(str(store.root)).resolve()
    if folder is not None and folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder}: a file; a store is a folder")
    current = store.current()
    found = "nothing there yet"
    if current is not None:
        found = f"snapshot {current.number}, {current.counts['rows']:,} samples"
        store.check_writable()
    if folder is None:
        return Check("ok", what, found)
    free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
    remedy = "less than 20 GB free: a raw sample takes 0.15 MB" if free < LOW_DISK else ""
    return Check("ok", what, f"{found}, {free / 1e9:,.0f} GB free", remedy)
