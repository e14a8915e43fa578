"""A dataset as flows take it: the parameter `sources`."""

from pydantic import BaseModel, ConfigDict, Field


class Source(BaseModel):
    """A dataset and where it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="name of the adapter: celeba-spoof, folder, ...")
    root: str = Field(description="folder or URL of the dataset")
    dataset: str | None = Field(None, description="its name in the store; needed to tell two folders of one kind apart")
