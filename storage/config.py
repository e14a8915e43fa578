"""How a store writes its shards."""

import warnings
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class StoreConfig(BaseModel):
    """Shard format and pixel codecs; everything here changes the bytes of a shard, nothing else does.

    `None` means the format's own default: HDF5 holds raw pixels (a read is a memory copy, about 12 us a sample),
    Parquet holds JPEG (about 8x smaller, 230 us to decode). PNG is lossless in half the bytes of raw and takes 1.4
    times as long to read as JPEG (benchmarks/codecs.py).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["hdf5", "parquet"] = "hdf5"
    image: Literal["raw", "png", "jpeg"] | None = None
    jpeg_quality: int = Field(default=95, ge=50, le=100)
    jpeg_subsampling: Literal["4:4:4", "4:2:0"] = "4:4:4"
    # HDF5 only (Parquet always holds PNG). packed = row difference + zstd, lz4 = one LZ4 block a map, raw = plain array
    depth: Literal["raw", "lz4", "packed"] | None = None

    @model_validator(mode="after")
    def _warn_of_smeared_colours(self) -> Self:
        if self.image_codec == "jpeg" and self.jpeg_subsampling == "4:2:0":
            warnings.warn(
                "JPEG 4:2:0 smears the colour fringes that betray a recapture (maximum error 70 grey levels, 4:4:4 25) "
                "to save a quarter of the bytes; the store will say so in image_subsampling",
                stacklevel=2,
            )
        return self

    @property
    def image_codec(self) -> Literal["raw", "png", "jpeg"]:
        """The image codec with the format's default filled in."""
        return self.image or ("raw" if self.format == "hdf5" else "jpeg")

    @property
    def image_subsampling(self) -> Literal["4:4:4", "4:2:0"]:
        """Colour resolution of the stored images: full, but for a JPEG that was asked for less."""
        return self.jpeg_subsampling if self.image_codec == "jpeg" else "4:4:4"

    @property
    def depth_codec(self) -> Literal["raw", "lz4", "packed", "png"]:
        """The depth codec with the default filled in: lossless in every case.

        LZ4 in HDF5: the depth of 224x224 samples, two thirds of them spoofs, then takes 4.6 KB a sample and 4 us to
        read; packed takes 2.0 KB and 19 us, raw 16.7 KB and 1 us, and the image takes 12 us raw or 190 as JPEG.
        """
        if self.format == "parquet":
            return "png"
        return self.depth or "lz4"
