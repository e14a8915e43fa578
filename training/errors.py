"""The one error of this package."""


class TrainingError(ValueError):
    """A store, a setting or a saved model that cannot be trained on, scored or reported; says what to do."""
