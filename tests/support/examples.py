"""Expressions in the inputs of `vocabulary.EXAMPLES`, as specs that tests evaluate."""

from handmade import one

from kgen.spec.model import Spec
from kgen.spec.vocabulary import read_by


def spec_of(expression: str, signature: tuple[int, int, int] = (2, 0, 0)) -> Spec:
    """A spec whose kernel `f` returns the expression; of constants alone it has the input s."""
    return one(signature, read_by(expression) or {"s": "scalar"}, f"return {expression}")
