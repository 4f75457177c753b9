"""Who asks a model as it was trained: a GGUF file and perhaps a recipe in, an `Asker` out.

A model that is asked otherwise than it was trained answers worse without a word.
"""

from __future__ import annotations

import sys
from pathlib import Path

from immune_data.common.errors import ImmuneError
from immune_data.contract import manifest
from immune_train.artifacts.provenance import TrainedOn, of_manifest
from immune_train.edge.llama_cpp_api import Model
from immune_train.edge.questions import DEFAULT_RECIPE, Asker


def of_gguf(path: Path) -> TrainedOn | None:
    """What a GGUF file says it was trained on; None where it says nothing.

    Raises:
        ImmuneError: it cannot be read, another version of us wrote it, or llama-cpp-python is
            missing.
    """
    model = Model(path, vocab_only=True)
    found = model.metadata()
    model.close()
    try:
        return TrainedOn.from_metadata(found)
    except ImmuneError as error:
        raise ImmuneError(
            f"{path}: {error}: export the model again with `python -m immune_train.export`"
        ) from None


def asker(model: Path | None, recipe: str | None, context: int | None = None) -> Asker:
    """What asks a model as it was trained: as `recipe` says, or else the model's own file.

    Raises:
        ImmuneError: the recipe is not one of ours, or asks otherwise than the model was trained.
    """
    trained = of_gguf(model) if model is not None else None
    if trained is None:
        if model is not None and recipe is None:
            print(
                f"note: {model} does not say what it was trained on, as models do that this "
                f"version exports: it is asked as {DEFAULT_RECIPE} does; export it again, or name "
                "its recipe with --recipe",
                file=sys.stderr,
            )
        return Asker(recipe or DEFAULT_RECIPE, context)
    if recipe is None:
        try:
            made = Asker(trained.recipe, context)
        except ImmuneError as error:
            raise ImmuneError(
                f"{model} was trained on the recipe {trained.recipe}, which is not there "
                f"({error}): give the recipe's file with --recipe"
            ) from None
    else:
        made = Asker(recipe, context)
    if made.asking_sha256 == trained.asking_sha256:
        return made
    if made.recipe != trained.recipe:
        raise ImmuneError(
            f"{model} was trained on the recipe {trained.recipe}, and {made.recipe} asks "
            "otherwise: leave --recipe out, or give a model of that recipe"
        )
    raise ImmuneError(
        f"{model} was trained on the recipe {trained.recipe} as immune {trained.version} had it, "
        "and its prompts or its limits are others now: ask it with that version, or give the "
        "recipe's file as it was with --recipe"
    )


def asked_otherwise(records: Path, made: Asker) -> str | None:
    """One sentence, if the manifest beside some records says that another recipe asks them."""
    emitted = of_manifest(records.with_name(manifest.NAME))
    if emitted is None or emitted.asking_sha256 == made.asking_sha256:
        return None
    return (
        f"note: {records} asks as the recipe {emitted.recipe} does, "
        f"and the model is for {made.recipe}"
    )
