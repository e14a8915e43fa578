"""How a store writes its shards."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class StoreConfig(BaseModel):
    """Shard format and pixel codecs; everything here changes the bytes of a shard, nothing else does.

    `None` means the format's own default: HDF5 holds raw pixels (a read is a memory copy, about 12 us a sample),
    Parquet holds JPEG (about 7x smaller, 250 us to decode).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["hdf5", "parquet"] = "hdf5"
    image: Literal["raw", "jpeg"] | None = None
    # always 4:4:4: 4:2:0 smears the colour fringes that betray a recapture (maximum error 70 grey levels against 25)
    jpeg_quality: int = Field(default=95, ge=50, le=100)
    # HDF5 only (Parquet always holds PNG). raw = plain array, packed = row difference + zstd: 8x smaller, 56 us more
    depth: Literal["raw", "packed"] | None = None

    @property
    def image_codec(self) -> Literal["raw", "jpeg"]:
        """The image codec with the format's default filled in."""
        return self.image or ("raw" if self.format == "hdf5" else "jpeg")

    @property
    def depth_codec(self) -> Literal["raw", "packed", "png"]:
        """The depth codec with the default filled in: lossless in every case."""
        if self.format == "parquet":
            return "png"
        return self.depth or ("raw" if self.image_codec == "raw" else "packed")
