"""The pages' templates: escaped, strict, and without a control character from any name."""

from __future__ import annotations

from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from gainstage.report.wording import SEVERITY_WORDS, counted, module_label, printable


def template(name: str) -> jinja2.Template:
    """The template of this name, of those beside this file; it may extend another."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(resource),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_without_control_characters,
    )
    # jinja's own annotations admit only the filters and globals that it ships.
    filters: dict[str, Any] = environment.filters
    constants: dict[str, Any] = environment.globals
    filters.update(module=module_label, counted=counted)
    constants["words"] = SEVERITY_WORDS
    return environment.get_template(name)


def _without_control_characters(value: Any) -> Any:
    """Escaping keeps a name from being markup; this keeps it from reordering the line that it stands in."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def resource(name: str) -> str:
    """The text of a file beside this one."""
    return (resources.files("gainstage.report.html") / name).read_text(encoding="utf-8")
