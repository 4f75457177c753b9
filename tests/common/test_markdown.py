"""Text in Markdown is text, whatever it holds."""

from __future__ import annotations

import html

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markupsafe import Markup

from immune_data.common import markdown, templates
from immune_data.common.text import visible

PIECES = [*"\\`*_[]()<>!&;#|~=+-.ab1 \n", "<b>", "&lt;", "](http://x)"]


@given(st.sampled_from(["x", ""]), st.lists(st.sampled_from(PIECES)).map("".join))
@example("x", "<script>alert(1)</script>")
@example("x", "![x](http://evil.test/x.png)")
@example("x", "a_b_c _d_ __e__ `f` **g** ~~h~~ &amp; <!-- -->")
@example("", "# a")
@example("", "12. a")
@example("", "-- -")
def test_what_is_escaped_is_shown_as_it_is(before: str, text: str) -> None:
    reader = MarkdownIt("commonmark").enable("strikethrough")
    shown = reader.render(f"{before} {markdown.escaped(text)}").removesuffix("</p>\n")
    assert shown.startswith("<p>") or not visible(text).strip()
    assert "<" not in shown[3:]
    assert html.unescape(shown[3:]).split() == [*before.split(), *visible(text).split()]


def test_a_template_takes_values_for_text_and_markup_for_markup(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(templates, "files", lambda package: Templates())
    given = {"a": "*x* <b>", "b": Markup("**y**"), "c": ["_z_", "`"]}
    assert templates.render_markdown("p", "t", **given) == r"\*x\* \<b\> **y** \_z\_, \`"


class Templates:
    """A package with one template."""

    def joinpath(self, name: str) -> Templates:
        return self

    def is_file(self) -> bool:
        return True

    def read_text(self, encoding: str) -> str:
        return '{{ a }} {{ b }} {{ c | join(", ") }}'
