"""One file a published method. METHODS maps the name that a saved model carries to the network that is scored."""

from collections.abc import Callable

from torch import nn

from training.methods.pdgan_nets import Classifier

METHODS: dict[str, Callable[..., nn.Module]] = {"pdgan": Classifier}
