"""Adapters as data: where a dataset's media lie, a pattern for their paths, and a rule for what the parts mean.

An adapter lists one `Layout` for every way in which copies of its dataset are found; the first that is there is taken
and named in `Scan.layout`. Walking, reading of lists, checking and the table are here, once for all of them.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path

from storage.schema import LIVE, SPOOF
from tasks.errors import BuildError
from tasks.sources.media import (
    ATTACKS,
    KINDS,
    SPLITS,
    File,
    Ignored,
    MediaTable,
    Scan,
    check_root,
    names_in,
    walk,
)
from tasks.sources.source import Official, Source

Tokens = Mapping[str, str]  # the named groups of a layout's pattern, and `path`


@dataclass(frozen=True, slots=True)
class Meaning:
    """What is known of one medium; no attack means live."""

    split: str
    subject: str  # the dataset's own token, unique within the dataset
    attack: str = ""  # "" or one of ATTACKS
    detail: str = ""  # the dataset's own name of the attack
    session: str = ""
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Rule:
    """How a medium's tokens are read, with whatever list files that needed.

    meaning: tokens -> what they mean, or the reason why the medium is left out. note: which lists were taken. missing:
    called after the walk: (path, reason) of what the lists name and no file came for.
    """

    meaning: Callable[[Tokens], Meaning | str]
    note: str = ""
    missing: Callable[[], Iterable[tuple[str, str]]] = tuple


@dataclass(frozen=True)
class Track:
    """Side files that give the face in each frame of a video.

    fields: what a line holds, as `tasks.tracks` reads it. at: where the file of a video may lie, with the pattern's
    groups in braces. folder: the folder of such files, where they are not beside the videos.
    """

    fields: str
    at: tuple[str, ...]
    folder: str = ""


@dataclass(frozen=True)
class Layout:
    """One way in which a dataset lies on disk.

    folders: those that hold media, below the root; at least one must be there, and each that is there must hold some.
    pattern: of a medium's whole path below the root, with named groups. rule: reads the lists below a root. skip:
    names of folders that are left out, with the reason; aside: patterns of files that are. marks: folders or files by
    which it is recognised, if not by `folders`.
    """

    name: str
    example: str  # of a medium's path, for people
    folders: tuple[str, ...]
    pattern: str
    rule: Callable[[Path], Rule]
    track: Track | None = None
    skip: Mapping[str, str] = field(default_factory=dict)
    aside: Mapping[str, str] = field(default_factory=dict)
    marks: tuple[str, ...] = ()

    def is_at(self, root: Path) -> bool:
        """Whether `root` looks like this layout."""
        if self.marks:
            return any((root / mark).exists() for mark in self.marks)
        return any((root / folder).is_dir() for folder in self.folders)


def by_name(meaning: Callable[[Tokens], Meaning | str]) -> Callable[[Path], Rule]:
    """The rule of a layout whose paths say everything."""
    return lambda root: Rule(meaning)


def layout_source(name: str, title: str, *layouts: Layout, official: Official | None = None) -> Source:
    """An adapter made of `layouts`, tried in their order."""
    return Source(name, title, partial(scan_layouts, layouts), official)


def scan_layouts(layouts: tuple[Layout, ...], root: Path, dataset: str) -> Scan:
    """List the media below `root` by the first layout that is there.

    Raises BuildError for a wrong root, a list that cannot be read, a folder without media, and a rule whose words are
    not those of a store.
    """
    check_root(
        dataset,
        root,
        " or ".join(f"{', '.join(layout.folders)} (media such as {layout.example})" for layout in layouts),
        lambda path: any(layout.is_at(path) for layout in layouts),
    )
    layout = next(layout for layout in layouts if layout.is_at(root))
    rule = layout.rule(root)
    present = [folder for folder in layout.folders if (root / folder).is_dir()]
    tops = {folder.split("/")[0] for folder in present}
    ignored: Ignored = [(name, "not a folder of media") for name in sorted(set(names_in(root)) - tops)]
    beside = len(ignored)
    media = MediaTable(dataset)
    for folder in present:
        if not _scan_folder(root, folder, layout, rule, media, ignored):
            example = next((f"{path}: {why}" for path, why in ignored if path.startswith(f"{folder}/")), "nothing")
            raise BuildError(
                f"{dataset}: {root / folder} holds no medium of this dataset; looked for paths such as "
                f"{layout.example}, found {example}"
            )
    if not media.rows:
        path, why = (ignored[beside:] or ignored)[0]
        raise BuildError(f"{dataset}: {root} holds no medium that can be used, the first is {path}: {why}")
    ignored += rule.missing()
    note = f", {rule.note}" if rule.note else ""
    return Scan(dataset, root, media.table(), sorted(ignored), f"{layout.name}{note}")


def _scan_folder(root: Path, folder: str, layout: Layout, rule: Rule, media: MediaTable, ignored: Ignored) -> int:
    """Add the media below `folder`, and return how many files are named like media."""
    match = re.compile(layout.pattern).fullmatch
    skipped: Counter[str] = Counter()
    aside: Counter[str] = Counter()
    named = 0
    for file, beside in _with_side_files(root, folder, layout, skipped, ignored):
        found = match(file.path)
        if file.name.startswith("."):
            ignored.append((file.path, "hidden file"))
            continue
        if found is None:
            kind = next((pattern for pattern in layout.aside if re.fullmatch(pattern, file.path)), None)
            if kind is None:
                ignored.append((file.path, f"not named like {layout.example}"))
            else:
                aside[kind] += 1
            continue
        named += 1
        tokens = found.groupdict("")
        tokens["path"] = file.path
        meaning = rule.meaning(tokens)
        if isinstance(meaning, str):
            ignored.append((file.path, meaning))
            continue
        if meaning.split not in SPLITS or (meaning.attack and meaning.attack not in ATTACKS):
            raise BuildError(
                f"{media.dataset}: {file.path}: split {meaning.split!r}, attack {meaning.attack!r}; a source gives one "
                f"of {', '.join(SPLITS)} and of {', '.join(ATTACKS)} (its own name of an attack is the detail)"
            )
        extra = dict(meaning.extra)
        if layout.track and (side := _side_file(tokens, layout.track, beside)):
            # its length is enough to notice a change, and one call a video
            extra["track"] = {"file": side.path, "fields": layout.track.fields, "bytes": side.stat()[0]}
        media.add(
            file,
            split=meaning.split,
            subject=meaning.subject,
            session=meaning.session,
            label=SPOOF if meaning.attack else LIVE,
            kind=KINDS[file.suffix],
            attack=meaning.attack,
            attack_detail=meaning.detail,
            extra=json.dumps(extra) if extra else "{}",
        )
    ignored += [
        (f"{folder}/**/{name}", f"{layout.skip[name]}: {count} folder{'s' * (count > 1)} not read")
        for name, count in skipped.items()
    ]
    ignored += [
        (f"{folder}/**", f"{layout.aside[kind]}: {count} file{'s' * (count > 1)} not read")
        for kind, count in aside.items()
    ]
    return named


def _with_side_files(
    root: Path, folder: str, layout: Layout, skipped: Counter[str], ignored: Ignored
) -> Iterator[tuple[File, Mapping[str, File]]]:
    """Each file below `folder` with the side files, by path, that may belong to it."""

    def enter(name: str) -> bool:
        skipped.update([name] if name in layout.skip else ())
        return name not in layout.skip

    files = walk(root, tuple(folder.split("/")), ignored, enter)
    if layout.track is None:
        yield from ((file, {}) for file in files)
        return
    ending = os.path.splitext(layout.track.at[0])[1]
    elsewhere: dict[str, File] = {}
    if layout.track.folder and (root / layout.track.folder).is_dir():
        elsewhere = {file.path: file for file in walk(root, tuple(layout.track.folder.split("/")), ignored)}
    for _, group in groupby(files, key=lambda file: file.folder):
        here = list(group)
        beside = {file.path: file for file in here if file.suffix == ending}
        yield from ((file, beside | elsewhere) for file in here if file.suffix != ending)


def _side_file(tokens: Tokens, track: Track, beside: Mapping[str, File]) -> File | None:
    return next((found for place in track.at if (found := beside.get(place.format_map(tokens)))), None)
