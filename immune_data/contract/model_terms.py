"""Under which terms models write: their names in, rows for a card's table out."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib.resources import files

COLUMNS = ("model", "licence or terms", "where they are")


def rows(models: Iterable[str]) -> list[list[str]]:
    """One row per model; those that `model_terms.toml` does not name are not known."""
    text = files("immune_data.contract").joinpath("model_terms.toml").read_text(encoding="utf-8")
    known: dict[str, dict[str, str]] = tomllib.loads(text)
    nothing = {"terms": "not known here: ask whoever published it", "source": ""}
    return [
        [model, found["terms"], found["source"]]
        for model in models
        for found in [known.get(model, nothing)]
    ]
