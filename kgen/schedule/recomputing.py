"""Which fields are stored because to compute them again takes longer: sums of many terms, as in products of 32 blades.

In: fields. Out: those whose own arithmetic, without that of what others read, too, takes longer than to store them and
to load them again, by the rates in the device's table.
"""

from collections.abc import Sequence

from kgen.graph.cost import operations, weight
from kgen.graph.node import Node, postorder
from kgen.schedule.device import DEVICE
from kgen.schedule.work import BYTES

STORED_AND_LOADED = 2 * BYTES * DEVICE.intensity  # instructions while a field is stored, and loaded again


def dear(roots: Sequence[Node]) -> list[Node]:
    """The sums that take longer to compute than to store and to load."""
    order = postorder(roots)
    readers: dict[Node, int] = {}
    for node in order:
        for a in node.args:
            readers[a] = readers.get(a, 0) + 1
    own: dict[Node, int] = {}
    for node in order:
        alone = (a for a in node.args if readers[a] == 1 and a.axes == node.axes and not a.reduced)
        own[node] = sum(operations(node)[:2]) + weight(node) + sum(own[a] for a in alone)
    return [n for n in order if n.kind == "Add" and own[n] > STORED_AND_LOADED]
