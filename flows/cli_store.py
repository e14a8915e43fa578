"""Commands that work on a store as a whole: `pseudodepth convert`, `forget`, `vacuum`, `duplicates`."""

from enum import StrEnum
from typing import Annotated

import typer

from flows.progress import progress_line

app = typer.Typer()


class Target(StrEnum):
    """What a store can be converted to."""

    hdf5 = "hdf5"
    parquet = "parquet"
    webdataset = "webdataset"


class Image(StrEnum):
    """Image codecs."""

    raw = "raw"
    png = "png"
    jpeg = "jpeg"


@app.command()
def convert(
    store: Annotated[str, typer.Argument(metavar="STORE", help="folder or URL of a store; STORE@N is snapshot N")],
    to: Annotated[Target, typer.Option("--to", help="hdf5, parquet or webdataset")],
    out: Annotated[str, typer.Option("--out", "-o", help="empty folder or URL to write")],
    image: Annotated[
        Image | None, typer.Option(help="raw, png or jpeg (not lossless); default: as they are, nothing is lost")
    ] = None,
) -> None:
    """Write a snapshot again in another format, row for row."""
    from storage.config import StoreConfig
    from storage.convert import convert as convert_store
    from storage.webdataset import to_webdataset

    codec = None if image is None else image.value
    with progress_line("convert", 0, "shards") as advance:

        def progress(_done: int, shards: int) -> None:
            advance(1, total=shards)

        if to is Target.webdataset:
            content = to_webdataset(store, out, StoreConfig(image=codec), progress)
            counts, written = content["counts"], f"{len(content['tars'])} tar files"
        else:
            snapshot = convert_store(store, out, StoreConfig(format=to.value, image=codec), progress)
            counts, written = snapshot.counts, f"snapshot {snapshot.number}, {snapshot.counts['shards']} shards"
    print(f"{out}: {written}, {counts['rows']} rows ({counts['live']} live, {counts['spoof']} spoof)")


@app.command()
def forget(
    store: Annotated[str, typer.Argument(metavar="STORE", help="folder or URL of a store")],
    subject: Annotated[
        str | None, typer.Option(help="a person, as the column `subject` has it: celeba-spoof/4980")
    ] = None,
    path: Annotated[str | None, typer.Option(help="media by path, a pattern: 'Data/train/4980/*'")] = None,
) -> None:
    """Erase a person or files: rows, lists, old snapshots and orphans, then scan every file; exit code 1 if found."""
    from storage.erase import forget as forget_in

    done = forget_in(store, subject=subject, path=path)
    print(
        f"{store}: snapshot {done.snapshot} is without {done.media:,} media ({done.samples:,} samples), "
        f"{done.shards_rewritten} shards written again, {len(done.removed)} files removed"
    )
    print(f"scan: {done.scanned} files read, {len(done.traces)} with traces")
    for file in done.traces:
        print(f"  still in {file}")
    for file in done.unknown:
        print(f"  not a file of the store, look at it yourself: {file}")
    print("The dataset was not touched: delete the files there too, or the next build brings them back.")
    raise typer.Exit(1 if done.traces else 0)


@app.command()
def vacuum(
    store: Annotated[str, typer.Argument(metavar="STORE", help="folder or URL of a store")],
    older_than: Annotated[str, typer.Option(help="30d, 12h or 0d; the current snapshot always stays")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would go")] = False,
) -> None:
    """Remove old snapshots, shards that only they list, and what dead builds left behind."""
    from storage.vacuum import parse_age
    from storage.vacuum import vacuum as vacuum_store

    gone = vacuum_store(store, parse_age(older_than), dry_run=dry_run)
    verb = "would be removed" if dry_run else "removed"
    print(f"{store}: {len(gone.snapshots)} snapshots, {len(gone.files)} files, {gone.nbytes / 1e6:,.1f} MB {verb}")


@app.command()
def duplicates(
    store: Annotated[str, typer.Argument(metavar="STORE", help="folder or URL of a store; STORE@N is snapshot N")],
    bits: Annotated[
        int, typer.Option(min=0, max=15, help="of 256, by which two hashes of one picture may differ")
    ] = 10,
    near: Annotated[bool, typer.Option(help="also read the pictures; without it only file hashes and subjects")] = True,
    show: Annotated[int, typer.Option(min=0, help="groups to print of each kind")] = 10,
) -> None:
    """The same file or picture in two splits or datasets, and subjects in two splits; exit code 1 if there are any."""
    from storage.duplicates import duplicates as find
    from storage.snapshot import open_snapshot

    report = find(open_snapshot(store), bits=bits, near=near)
    unhashed = f", {report.unhashed:,} of them without a hash of their content" if report.unhashed else ""
    print(f"{store}: {report.media:,} media{unhashed}, {report.compared:,} pictures compared")
    for kind, groups in (("the same file", report.exact), ("nearly the same picture", report.near)):
        across = [group for group in groups if group.crosses]
        print(f"{kind}: {len(groups):,} groups, {len(across):,} across splits or datasets")
        for group in across[:show]:
            print("  " + " = ".join(f"{row['dataset']}:{row['path']} ({row['split']})" for row in group.media))
    print(f"subjects in more than one split: {len(report.subjects):,}")
    for subject, splits in list(report.subjects.items())[:show]:
        print(f"  {subject}: {', '.join(splits)}")
    raise typer.Exit(1 if report.leaks else 0)
