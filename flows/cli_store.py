"""Commands that work on a store as a whole: `pseudodepth convert`."""

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
