"""Where each dataset's media are and what its labels mean, one file a dataset.

`SOURCES` names them all: those of this package, and those that other installed packages add through the entry point
group `pseudodepth.sources` (docs/sources.md). An adapter's module is imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from tasks.errors import BuildError
from tasks.sources.media import MEDIA_SCHEMA, Scan
from tasks.sources.remote_path import root_of
from tasks.sources.source import Difference, Official, Source, compare, shared_subjects

ENTRY_POINTS = "pseudodepth.sources"
_MODULES = {
    "3dmad": "mad3d",
    "casia-fasd": "casia_fasd",
    "casia-surf": "casia_surf",
    "cefa": "cefa",
    "celeba-spoof": "celeba_spoof",
    "folder": "folder",
    "lcc-fasd": "lcc_fasd",
    "msu-mfsd": "msu_mfsd",
    "oulu-npu": "oulu_npu",
    "replay-attack": "replay_attack",
    "rose-youtu": "rose_youtu",
    "siw": "siw",
    "siw-m": "siw_m",
    "siw-mv2": "siw_mv2",
    "table": "table",
    "wmca": "wmca",
}


class Sources(Mapping[str, Source]):
    """Name -> adapter. Raises BuildError for an installed adapter that cannot be used."""

    @cached_property
    def _installed(self) -> dict[str, list[EntryPoint]]:
        found: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=ENTRY_POINTS):
            found.setdefault(point.name, []).append(point)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter([*_MODULES, *sorted(self._installed.keys() - _MODULES.keys())])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __getitem__(self, name: str) -> Source:
        points = self._installed.get(name, [])
        packages = ", ".join(sorted({point.dist.name if point.dist else point.value for point in points}))
        if points and name in _MODULES:
            raise BuildError(
                f"{name}: both pseudodepth and {packages} have a source of this name; uninstall {packages}"
            )
        if len({point.value for point in points}) > 1:
            raise BuildError(f"{name}: {packages} both have a source of this name; uninstall one of them")
        if not points:
            ours: Source = import_module(f"tasks.sources.{_MODULES[name]}").SOURCE
            return ours
        try:
            source = points[0].load()
        except Exception as error:  # somebody else's module: whatever it raises, the user can only repair that package
            raise BuildError(f"{name}: the source that {packages} adds cannot be loaded ({error!r})") from error
        if not isinstance(source, Source):
            raise BuildError(
                f"{name}: {points[0].value} of {packages} is a {type(source).__name__}, not a tasks.sources.Source"
            )
        return source


SOURCES = Sources()


def scan(name: str, root: Path | str, dataset: str | None = None) -> Scan:
    """List the media of source `name` below `root`; nothing is decoded.

    `dataset` renames it in the store, which keeps two folder trees apart. Raises BuildError for an unknown name, a
    wrong root, a wrong layout or an empty split.
    """
    if name not in SOURCES:
        raise BuildError(f"{name}: not a known source; known are {', '.join(SOURCES)}")
    return SOURCES[name].find(root_of(root), dataset or name)


__all__ = [
    "MEDIA_SCHEMA",
    "SOURCES",
    "Difference",
    "Official",
    "Scan",
    "Source",
    "Sources",
    "compare",
    "scan",
    "shared_subjects",
]
