"""YAML text in, plain data with places out: mappings, lists and texts, every one with its line and column.

Scalars stay text (`no` is not False, `1e-6` is not lost): `entries.py` types them. Guaranteed: no YAML text makes
anything but KgenErrors; keys are unique texts; anchors and tags, which the format has no use for, are refused.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import yaml

from kgen.errors import Follows, KgenError, KgenErrors, Mark

Data = dict[str, "Data"] | list["Data"] | str
Place = tuple[str | int, ...]  # keys and indices from the root, such as ("kernels", "f", "inputs", "x")

BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # what YAML counts as the end of a line
DEPTH = 20  # levels of nesting; the format has six
TAGS = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))
QUOTE = 'inside { } and [ ] a type with commas or brackets needs quotes, as in weight: "weights(x, y)"'
HINTS = {
    "but got '['": QUOTE,
    "but got ']'": QUOTE,
    "cannot start any token": "indent with spaces, and quote text that starts with a special character",
    "mapping values are not allowed": "a text with `: ` in it needs quotes",
}


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file as data. `keys` and `values` say where each key and each value starts."""

    path: str
    lines: list[str]
    data: Data = ""
    keys: dict[Place, Mark] = field(default_factory=dict)
    values: dict[Place, Mark] = field(default_factory=dict)
    scalars: dict[Place, yaml.ScalarNode] = field(default_factory=dict)
    cut: dict[Place, Mark] = field(default_factory=dict)  # keys whose values YAML does not read to their end
    errors: list[KgenError] = field(default_factory=list)

    def value(self, place: Place) -> Mark:
        """Where a value starts, or the nearest thing around it that was written."""
        while place not in self.values:
            place = place[:-1]
        return self.values[place]

    def key(self, place: Place) -> Mark:
        """Where a key starts, or else its value."""
        return self.keys.get(place) or self.value(place)

    def text(self, place: Place) -> Mark:
        """Where the characters of a text start: after its quote, or on the line below its `|`."""
        start = self.value(place)
        if place not in self.scalars:
            return start
        node = self.scalars[place]
        if node.style in ("'", '"'):
            return Mark(self.path, start.line, start.column + 1)
        if node.style != "|":
            return start
        inside = node.value.split("\n")
        first = next((i for i, line in enumerate(inside) if line), 0)
        raw = self.lines[start.line + first] if inside[first] else ""
        return Mark(self.path, start.line + 1, len(raw) - len(inside[first]) + 1)

    @contextmanager
    def noting(self, place: Place, key: bool = False) -> Iterator[None]:
        """Collect a KgenError raised inside as a mistake of this value, or of its key."""
        try:
            yield
        except Follows:
            return
        except KgenError as error:
            mark = error.mark or (self.key(place) if key else self.value(place))
            self.errors.append(KgenError(error.message, mark, error.hint))

    def verbatim(self, place: Place) -> bool:
        """Whether a text reads in the file as it reads in the data, line by line."""
        if place not in self.scalars or self.scalars[place].style == "|":
            return True
        node, start = self.scalars[place], self.text(place)
        return self.lines[start.line - 1][start.column - 1 :].startswith(node.value)


def read(path: str, text: str) -> Document:
    """The document of a YAML text; KgenErrors when it is not YAML, else mistakes are listed in its `errors`."""
    try:
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        raise KgenErrors([_syntax_error(path, error)]) from None
    except yaml.reader.ReaderError as error:
        before = BREAK.split(text[: error.position])
        what = f"the character U+{error.character:04X} is not allowed in YAML"
        raise KgenErrors([KgenError(what, Mark(path, len(before), len(before[-1]) + 1))]) from None
    except RecursionError:
        raise KgenErrors([KgenError("not a spec: it is nested too deeply", Mark(path, 1, 1))]) from None
    document = Document(path, BREAK.split(text))
    if root is None:
        raise KgenErrors([KgenError("the file is empty", Mark(path, 1, 1), "`kgen new` writes a spec to start from")])
    data = _data(document, root, (), set())
    return replace(document, data=data)


def _mark(document: Document, node: yaml.Node) -> Mark:
    return Mark(document.path, node.start_mark.line + 1, node.start_mark.column + 1)


def _syntax_error(path: str, error: yaml.MarkedYAMLError) -> KgenError:
    at = error.problem_mark or error.context_mark
    mark = Mark(path, at.line + 1, at.column + 1) if at else Mark(path, 1, 1)
    problem = error.problem or "not valid"
    context = f" {error.context}" if error.context else ""
    return KgenError(f"YAML: {problem}{context}", mark, next((h for key, h in HINTS.items() if key in problem), None))


def _data(document: Document, node: yaml.Node, place: Place, seen: set[int]) -> Data:
    """The node as data; its places and mistakes go into the document."""
    mark = document.values[place] = _mark(document, node)
    if id(node) in seen:
        document.errors.append(
            KgenError("anchors and aliases are not part of the format", mark, "write the value again")
        )
        return ""
    if len(place) > DEPTH:
        document.errors.append(KgenError(f"nested more than {DEPTH} levels deep", mark))
        return ""
    if node.tag not in TAGS:
        document.errors.append(KgenError("YAML tags (`!`) are not part of the format", mark, "write the plain value"))
        return ""
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        return _mapping(document, node, place, seen)
    if isinstance(node, yaml.SequenceNode):
        return [_data(document, item, (*place, i), seen) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode):
        document.scalars[place] = node
    return str(node.value)


def _mapping(document: Document, node: yaml.MappingNode, place: Place, seen: set[int]) -> dict[str, Data]:
    result: dict[str, Data] = {}
    pairs = list(node.value)
    while pairs:
        key, value = pairs.pop(0)
        where = _mark(document, key)
        if not isinstance(key, yaml.ScalarNode):
            document.errors.append(KgenError("a key is a plain name", where, QUOTE))
        elif key.value in result:
            first = document.keys[*place, key.value].line
            document.errors.append(KgenError(f"`{key.value}` is written twice", where, f"first on line {first}"))
        elif node.flow_style and _is_open(value):
            document.cut[*place, key.value] = document.keys[*place, key.value] = where
            document.errors.append(_cut(document, key, value, pairs))
        else:
            document.keys[*place, key.value] = where
            result[key.value] = _data(document, value, (*place, key.value), seen)
    return result


def _is_open(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and not node.style and node.value.count("(") > node.value.count(")")


def _cut(document: Document, key: yaml.Node, value: yaml.Node, rest: list[tuple[yaml.Node, yaml.Node]]) -> KgenError:
    """An unquoted `weights(x, y)` in flow style, which YAML cuts at the comma; its tail is taken off the mapping."""
    whole = str(value.value)
    while rest and whole.count("(") > whole.count(")") and isinstance(rest[0][0], yaml.ScalarNode):
        whole += f", {rest.pop(0)[0].value}"
    hint = f'inside {{ }} quote it: {key.value}: "{whole}"'
    return KgenError(f"YAML ends `{value.value}` at the comma", _mark(document, value), hint)
