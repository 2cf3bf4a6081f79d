"""Names that a command is given: each selects something that there is, or is a mistake with the nearest name.

In: a name and the names that exist. Out: a KgenError to raise.
"""

from collections.abc import Iterable
from difflib import get_close_matches

from kgen.errors import KgenError


def unknown(message: str, name: str, known: Iterable[str]) -> KgenError:
    """A mistake, with what may have been meant and what there is, in its order, as a hint."""
    choices = list(dict.fromkeys(known))
    spelled = {choice.lower(): choice for choice in choices}
    near = get_close_matches(name.lower(), list(spelled), 1)
    guess = f"did you mean {spelled[near[0]]}? " if near else ""
    return KgenError(message, hint=f"{guess}there {'are' if len(choices) > 1 else 'is'} {', '.join(choices) or 'none'}")


def must_exist(names: Iterable[str], known: Iterable[str], message: str) -> None:
    """Raise KgenError for the first name that is unknown; `message` has its place as {!r}."""
    choices = list(known)
    for name in names:
        if name not in choices:
            raise unknown(message.format(name), name, choices)
