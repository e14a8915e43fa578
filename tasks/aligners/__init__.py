"""The aligners by name, one file each; a module (and its runtime) is imported only when its aligner is wanted."""

from importlib import import_module

from tasks.align import AlignConfig, Aligner

_MODULES = {"facemesh": "facemesh", "prnet": "prnet", "face-alignment": "face_alignment"}


def load_aligner(config: AlignConfig) -> Aligner:
    """The configured aligner with its weights loaded; BuildError or WeightsError if they are missing."""
    name = config.aligner
    if name == "auto":
        name = "prnet" if config.prnet_weights is not None else "facemesh"
    aligner: Aligner = import_module(f"tasks.aligners.{_MODULES[name]}").load(config)
    return aligner
