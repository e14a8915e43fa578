"""Published protocols as data: named train, dev and test selections over the columns of a store.

>>> from training.protocols import find_protocol, protocols
>>> find_protocol("oulu-npu-1").select(DepthDataset(store).table).test  # row numbers
"""

from training.protocols.catalogue import find_protocol, protocols, read_protocols
from training.protocols.columns import Columns
from training.protocols.protocol import PARTS, Metric, Protocol, Selection

__all__ = ["PARTS", "Columns", "Metric", "Protocol", "Selection", "find_protocol", "protocols", "read_protocols"]
