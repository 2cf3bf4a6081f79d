"""Triton's interpreter, as it is but for what it does over and over; a plugin of pytest.

For every launch and every call of a device function the interpreter puts functions of its own in the place of the
language's, and searches for them in all the language and in all names of the kernel's module: a third of the time of
these tests. Here a launch does it once, with what a first search found. Where a Triton is built differently, nothing
changes.
"""

from collections.abc import Callable
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


def _roomy(call: Callable[..., None], *arguments: Any, **options: Any) -> None:
    """Call a function where the calls below it have room on Python's stack.

    The stack grows by 16 KiB, or by twice the size of a frame that is larger, and a kernel whose operations happen to
    lie beyond an end had it grow and shrink, by two system calls, for each of them: half of the time of some tests.
    """
    call(*arguments, **options)


_roomy.__code__ = _roomy.__code__.replace(co_stacksize=70_000)  # of 8 bytes: room for as much again


def install() -> None:
    """Replace functions of the interpreter, which a second call finds replaced."""
    from triton.runtime import interpreter

    needed = ("_patch_lang", "_patch_builtin", "_LangPatchScope", "GridExecutor", "tl")
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

    launched = interpreter.GridExecutor.__call__

    def with_room(*arguments: Any, **options: Any) -> None:
        _roomy(launched, *arguments, **options)

    interpreter.GridExecutor.__call__ = with_room
    interpreter._searched = search
    interpreter._patch_lang, interpreter._patch_builtin = replace, replace_builtins


def pytest_configure() -> None:
    install()
