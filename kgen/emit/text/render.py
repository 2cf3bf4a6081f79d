"""Templates filled with rows.

In: the name of a template, and rows; or a row of the host side, whose text is the macro that is called as its class.
Out: text.
"""

from collections.abc import Iterable
from functools import lru_cache
from itertools import groupby
from typing import Any

import jinja2

from kgen.compiler import template_folder
from kgen.wording import counted

MACROS = ("values.jinja", "steps.jinja")


@lru_cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template_folder()),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for filter in (counted, groupby_in_order, listed, placed):
        environment.filters[filter.__name__] = filter
    return environment


def groupby_in_order(rows: Iterable[Any], attribute: str) -> list[tuple[Any, list[Any]]]:
    """Runs of neighbouring rows with one value of an attribute."""
    return [(key, list(group)) for key, group in groupby(rows, key=lambda row: getattr(row, attribute))]


def listed(names: Iterable[str]) -> str:
    """A tuple without its brackets: one name alone has a comma."""
    found = list(names)
    return ", ".join(found) + "," * (len(found) == 1)


def placed(row: Any) -> str:
    """A row by the macro that is called as its class; a name as it is."""
    return row if isinstance(row, str) else _macros()[type(row).__name__](row).strip("\n")


@lru_cache
def _macros() -> dict[str, Any]:
    return {name: macro for file in MACROS for name, macro in vars(_environment().get_template(file).module).items()}


def render(template: str, **context: Any) -> str:
    """A template with its rows."""
    return _environment().get_template(f"{template}.jinja").render(**context)
