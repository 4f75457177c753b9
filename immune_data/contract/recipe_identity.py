"""Identify a recipe, wherever its files are: a recipe in, its prompts by sha256 and one value out.

How it asks has a value of its own: `Conversations.sha256` in `prompting`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from immune_data import prompts
from immune_data.common.digests import digest, sha256
from immune_data.recipes import Recipe


def prompts_sha256(recipe: Recipe) -> dict[str, str]:
    """The sha256 of each prompt file of a recipe."""
    files = prompts.files(recipe.prompts_folder, recipe.records.prompt_layout)
    return {path.name: sha256(path) for path in files}


def recipe_sha256(recipe: Recipe) -> str:
    """One value for a recipe and its prompts."""
    return sha256_of(prompts_sha256(recipe), recipe.settings)


def sha256_of(prompts: Mapping[str, str], settings: Mapping[str, Any]) -> str:
    """The same value, from the prompts' sha256 and the settings in a manifest."""
    return digest({"prompts": prompts, "settings": settings})
