"""The one error of this package."""


class WeightsError(ValueError):
    """Weights or a UV layout that cannot be used: the message names the file, the tensor and what was expected."""
