"""The one error of this package."""


class ModelError(ValueError):
    """A model folder that cannot be trusted or run; says which file, what was expected and what to do."""
