"""What a recipe is, and how it asks: values that hold while nothing that decides changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from immune_data import recipes
from immune_data.contract import manifest, prompting, recipe_identity
from immune_data.contract.manifest import Manifest
from immune_data.recipes import Dag, Recipe

# A model file says by which of these it was trained, and is asked by no other: a value changes only
# with the prompts or the cuts of its recipe.
ASKING = {
    "published": "753dbf5d8e29604514971bb5b391ea12079c18ebad582fcd1ca808be64cadf01",
    "risk": "cfa5058bc98b0fb132b054369a8cb5a05320265eb420ec0379a553e04562a2d1",
    "unified-clean": "5173433707cdf016ce341954128266a6a28ecd68af0a03e81abdac1d05a2e5f1",
    "unified-edge": "f79057c32fdc69d6d622d2b36c2c2f7d47c4e0d9a68d062a79de39d2baeac11d",
    "unified-v1": "cfa5058bc98b0fb132b054369a8cb5a05320265eb420ec0379a553e04562a2d1",
    "unified-v2": "cfa5058bc98b0fb132b054369a8cb5a05320265eb420ec0379a553e04562a2d1",
    "unified-v3": "cfa5058bc98b0fb132b054369a8cb5a05320265eb420ec0379a553e04562a2d1",
}


class LaterDag(Dag):
    """A section of a later version, with a key that was not there before."""

    condense: bool = False


class LaterRecipe(Recipe):
    """A recipe of that version."""

    dag: LaterDag
    evidence: str = "whole"


@pytest.mark.parametrize("name", ASKING)
def test_recipes_ask_as_models_were_trained(name: str) -> None:
    recipe = recipes.load(name)
    assert prompting.load(recipe).sha256 == ASKING[name]


def test_every_recipe_is_looked_at() -> None:
    assert set(ASKING) == set(recipes.names())


@pytest.mark.parametrize("name", ASKING)
def test_a_new_key_at_its_default_asks_as_before(name: str) -> None:
    recipe = recipes.load(name)
    later = msgspec.convert(msgspec.to_builtins(recipe), LaterRecipe)
    assert later.settings.keys() - recipe.settings.keys() == {"evidence"}
    assert prompting.load(later).sha256 == ASKING[name]


def test_a_dataset_knows_the_recipe_that_made_it(sample_out: Callable[[str], Path]) -> None:
    recipe = recipes.load("unified-v2")
    result = manifest.read(sample_out(recipe.name) / "sft" / recipe.name, Manifest)
    assert result is not None
    assert result.inputs.recipe_sha256 == recipe_identity.recipe_sha256(recipe)
    assert result.asking_sha256 == ASKING[recipe.name]
