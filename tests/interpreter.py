"""Triton's interpreter, as it is but for what it does over and over; a plugin of pytest.

For every launch and every call of a device function the interpreter puts functions of its own in the place of the
language's, and searches for them in all the language and in all names of the kernel's module: a third of the time of
these tests. Here a launch does it once, with what a first search found. Where a Triton is built differently, nothing
changes.
"""

from typing import Any


class _Launch:
    """A launch in progress: which languages are replaced, and how to undo it."""

    def __init__(self) -> None:
        self.languages = set[int]()
        self.scopes: list[Any] = []

    def restore(self) -> None:
        while self.scopes:
            self.scopes.pop().restore()
        self.languages.clear()


class _Members(list[tuple[str, Any]]):
    """What is put in the place of an owner's members, as a search says."""

    def set_attr(self, owner: object, name: str, value: object) -> None:
        self.append((name, value))


def install() -> None:
    """Replace functions of the interpreter, which a second call finds replaced."""
    from triton.runtime import interpreter

    needed = ("_patch_lang", "_patch_builtin", "tl")
    if not all(hasattr(interpreter, name) for name in needed) or hasattr(interpreter, "_searched"):
        return
    search, search_builtins, language = interpreter._patch_lang, interpreter._patch_builtin, interpreter.tl
    launch = _Launch()
    modules: dict[int, tuple[dict[str, Any], frozenset[int]]] = {}  # the dict is kept, so that its id is no other's
    members: dict[Any, _Members] = {}

    def languages(names: dict[str, Any]) -> frozenset[int]:
        if id(names) not in modules:
            known = (language, language.core)
            found = {id(value) for value in names.values() if any(value is one for one in known)}
            modules[id(names)] = names, frozenset(found)
        return modules[id(names)][1]

    def replace(function: Any) -> _Launch:
        wanted = languages(function.__globals__)
        if not wanted <= launch.languages:
            launch.scopes.append(search(function))
            launch.languages |= wanted
        return launch

    def replace_builtins(owner: Any, builder: Any, scope: Any) -> None:
        if owner not in members:
            members[owner] = _Members()
            search_builtins(owner, builder, members[owner])
        for name, member in members[owner]:
            scope.set_attr(owner, name, member)

    interpreter._searched = search
    interpreter._patch_lang, interpreter._patch_builtin = replace, replace_builtins


def pytest_configure() -> None:
    install()
