"""Triton's interpreter, as it is but for what it does over and over.

It computes what it would without, and says what is wrong as it would. It is spared what costs most:

* For every launch and every call of a device function it puts functions of its own in the place of the language's, and
  searches for them in all the language and in all names of the kernel's module. Here the first launch does it for all.
* It reads, tokenizes and parses a function's lines three times. Here a file is parsed once for all its functions.
* Every operation makes types, shapes and constants that it had before, computes each sum of integers once more to see
  whether it overflows, and looks at the result in debug mode only.

Where a Triton is built differently, nothing changes.
"""

import ast
import dataclasses
import functools
import linecache
from collections.abc import Callable
from typing import Any


def _roomy(call: Callable[..., None], *arguments: Any, **options: Any) -> None:
    """Call a function where the calls below it have room on Python's stack.

    The stack grows by 16 KiB, or by twice the size of a frame that is larger, and a kernel whose operations happen to
    lie beyond an end had it grow and shrink, by two system calls, for each of them: half of the time of some tests.
    """
    call(*arguments, **options)


_roomy.__code__ = _roomy.__code__.replace(co_stacksize=70_000)  # of 8 bytes: room for as much again


def _launch_with_room(interpreter: Any) -> None:
    launched = interpreter.GridExecutor.__call__

    def with_room(*arguments: Any, **options: Any) -> None:
        _roomy(launched, *arguments, **options)

    interpreter.GridExecutor.__call__ = with_room


# The language


class _Kept:
    """What is replaced in a language stays so: nothing else reads it in a process that interprets."""

    def restore(self) -> None:
        pass


def _search_once(interpreter: Any) -> None:
    """Replace the functions of each language when a module first uses it."""
    search, language = interpreter._patch_lang, interpreter.tl
    known = (language, language.core)
    replaced = set[int]()
    seen: dict[int, dict[str, Any]] = {}  # the names of a module are kept, so that their id is no other's

    def replace(function: Any) -> _Kept:
        names = function.__globals__
        if id(names) not in seen:
            seen[id(names)] = names
            wanted = {id(value) for value in names.values() if any(value is one for one in known)}
            if not wanted <= replaced:
                search(function)
                replaced.update(wanted)
        return _Kept()

    interpreter._patch_lang = replace


# The text of functions


@functools.lru_cache(maxsize=256)
def _functions(text: str) -> dict[int, ast.FunctionDef]:
    """All functions of a file, without decorators, by the line where they start."""
    found = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            found[min([node.lineno, *(part.lineno for part in node.decorator_list)])] = node
            node.decorator_list = []
    return found


def _parse_once(interpreter: Any) -> None:
    """Rewrite a function in the tree of its file."""
    rewriter = interpreter.FunctionRewriter
    rewrite = rewriter.rewrite_ast

    @functools.lru_cache(maxsize=4096)
    def rewritten(text: str, line: int) -> ast.Module:
        tree = rewriter.ast_transformer.visit(_functions(text)[line])
        return ast.fix_missing_locations(ast.Module([tree], []))

    def rewrite_ast(self: Any) -> Any:
        code = self.fn.__code__
        linecache.checkcache(code.co_filename)
        text = "".join(linecache.getlines(code.co_filename, self.fn.__globals__))
        if not text:
            return rewrite(self)
        self.filename = code.co_filename
        return self._compile_and_exec(rewritten(text, code.co_firstlineno))

    rewriter.rewrite_ast = rewrite_ast


# Operations


def _remember_types(interpreter: Any) -> None:
    """What follows from an element's type and extents is found once for each."""
    language, numpy_type = interpreter.tl, interpreter._get_np_dtype
    make_type, make_tensor = language.block_type.__init__, language.tensor.__init__
    types: dict[tuple[str, tuple[int, ...]], dict[str, Any]] = {}
    shapes: dict[str, dict[str, Any]] = {}
    numpy_types: dict[str, Any] = {}

    def block_type(self: Any, element_ty: Any, shape: Any) -> None:
        key = element_ty.name, tuple([getattr(extent, "value", extent) for extent in shape])
        if key not in types:
            make_type(self, element_ty, shape)
            types[key] = dict(self.__dict__)
        self.__dict__.update(types[key], element_ty=element_ty)

    def tensor(self: Any, handle: Any, type: Any) -> None:
        if type.name not in shapes:
            make_tensor(self, handle, type)
            shapes[type.name] = {"shape": self.shape, "numel": self.numel}
        self.__dict__.update(shapes[type.name], handle=handle, type=type, dtype=type.scalar)

    def get_np_dtype(type: Any) -> Any:
        if type.name not in numpy_types:
            numpy_types[type.name] = numpy_type(type)
        return numpy_types[type.name]

    language.block_type.__init__, language.tensor.__init__ = block_type, tensor
    interpreter._get_np_dtype = get_np_dtype


def _leave_out_what_changes_nothing(interpreter: Any) -> None:
    language, semantic, builder = interpreter.tl, interpreter.interpreter_semantic, interpreter.interpreter_builder
    broadcast, equal = semantic.broadcast_impl_value, language.dtype.__eq__

    def broadcast_unequal(a: Any, b: Any) -> Any:
        if a.type.is_block() and b.type.is_block() and a.type.shape.values == b.type.shape.values:
            return a, b
        return broadcast(a, b)

    semantic.broadcast_impl_value = broadcast_unequal
    language.dtype.__eq__ = lambda self, other: self is other or equal(self, other)
    if not builder.options.debug:  # which alone asserts that nothing overflows
        builder.options = dataclasses.replace(builder.options, sanitize_overflow=False)


NEEDED = (
    *("_get_np_dtype", "_patch_lang", "tl", "interpreter_builder", "interpreter_semantic"),
    *("FunctionRewriter", "GridExecutor"),
)


def install() -> None:
    """Replace functions of the interpreter where kernels run in it; a second call finds them replaced."""
    from triton import knobs
    from triton.runtime import interpreter

    known = all(hasattr(interpreter, name) for name in NEEDED)
    if not knobs.runtime.interpret or not known or hasattr(interpreter, "_spared"):
        return
    _launch_with_room(interpreter)
    _search_once(interpreter)
    _parse_once(interpreter)
    _remember_types(interpreter)
    _leave_out_what_changes_nothing(interpreter)
    interpreter._spared = True
