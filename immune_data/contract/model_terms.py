"""The terms of models that write answers: their names in, texts for cards out."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib.resources import files

from markupsafe import Markup

from immune_data.common import markdown

_UNKNOWN = {"terms": "not known here: ask whoever published it", "source": ""}


def table(models: Iterable[str]) -> Markup:
    """One row per model; the terms of those not in `model_terms.toml` are not known."""
    known = _known()
    rows = [
        [
            markdown.code(model),
            terms["terms"],
            Markup(f"<{terms['source']}>" if terms["source"] else ""),
        ]
        for model in models
        for terms in [known.get(model, _UNKNOWN)]
    ]
    return markdown.table(["model", "licence or terms", "where they are"], rows)


def notices(models: Iterable[str]) -> list[str]:
    """The notices that a model trained on the answers of these models must display."""
    known = _known()
    candidates = (known.get(model, _UNKNOWN).get("notice") for model in models)
    return list(dict.fromkeys(notice for notice in candidates if notice))


def _known() -> dict[str, dict[str, str]]:
    text = files("immune_data.contract").joinpath("model_terms.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
