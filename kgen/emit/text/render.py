"""Templates filled with rows."""

from collections.abc import Iterable
from functools import lru_cache
from itertools import groupby
from typing import Any

import jinja2

from kgen.compiler import template_folder


@lru_cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template_folder()),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["groupby_in_order"] = _groupby_in_order
    return environment


def _groupby_in_order(rows: Iterable[Any], attribute: str) -> list[tuple[Any, list[Any]]]:
    """Runs of neighbouring rows with one value of an attribute."""
    return [(key, list(group)) for key, group in groupby(rows, key=lambda row: getattr(row, attribute))]


def render(template: str, **context: Any) -> str:
    """A template with its rows."""
    return _environment().get_template(f"{template}.jinja").render(**context)
