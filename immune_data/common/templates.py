"""Pages from templates: a Jinja2 template and its values in, HTML or Markdown out.

In HTML, every value is escaped, and invisible characters are written out; a value that is HTML
already is a `Markup`. In Markdown, the markup in every value is escaped, unless it is a `Markup`.
A missing value is an error and not an empty place. A template may extend `layout.html.jinja` and
import `parts.html.jinja`, which are in this folder.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from immune_data.common import markdown
from immune_data.common.text import visible

if TYPE_CHECKING:
    from jinja2 import Environment

# No script, no network: a page contains its pictures and styles.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)
_SHARED = "immune_data.common"


def render(package: str, name: str, **content: Any) -> str:
    """The template `name` in `package`, filled."""
    return _environment(package, _shown).get_template(name).render(policy=POLICY, **content)


def render_markdown(package: str, name: str, **content: Any) -> str:
    """The template `name` in `package`, filled, as Markdown."""
    return _environment(package, _plain).get_template(name).render(**content)


def _environment(package: str, finalize: Callable[[Any], Any]) -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    def source(name: str) -> str | None:
        for folder in (package, _SHARED):
            template = files(folder).joinpath(name)
            if template.is_file():
                return template.read_text(encoding="utf-8")
        return None

    return Environment(
        loader=FunctionLoader(source),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=finalize,
    )


def _shown(value: Any) -> Any:
    return visible(value) if type(value) is str else value


def _plain(value: Any) -> Any:
    return Markup(markdown.escaped(value)) if type(value) is str else value
