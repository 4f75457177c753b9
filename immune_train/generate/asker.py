"""Prompts as a model was trained on: a GGUF file and perhaps a recipe in, an `Asker` out.

A model that gets other prompts than it was trained on silently answers worse.
"""

from __future__ import annotations

import sys
from pathlib import Path

from immune_data.common.errors import ImmuneError
from immune_data.contract import manifest
from immune_train.artifacts import gguf_header
from immune_train.artifacts.provenance import TrainedOn, of_manifest
from immune_train.edge.questions import DEFAULT_RECIPE, Asker


def of_gguf(path: Path) -> TrainedOn | None:
    """What the model in a GGUF file was trained on; None if the file does not say.

    Raises:
        ImmuneError: it cannot be read, or another version of immune wrote it.
    """
    texts = gguf_header.read(path).texts
    try:
        return TrainedOn.from_metadata(texts)
    except ImmuneError as error:
        raise ImmuneError(
            f"{path}: {error}: export the model again with `python -m immune_train.export`"
        ) from None


def asker(model: Path | None, recipe: str | None, context: int | None = None) -> Asker:
    """The asker with the prompts of `recipe`, or of the recipe named in the model's file.

    Raises:
        ImmuneError: the recipe does not exist, or has other prompts than the model's.
    """
    trained_on = of_gguf(model) if model is not None else None
    if trained_on is None:
        if model is not None and recipe is None:
            print(
                f"note: {model} does not say what it was trained on, so the prompts of "
                f"{DEFAULT_RECIPE} are used: export it again with this version, or name its "
                "recipe with --recipe",
                file=sys.stderr,
            )
        return Asker(recipe or DEFAULT_RECIPE, context)
    if recipe is None:
        try:
            candidate = Asker(trained_on.recipe, context)
        except ImmuneError as error:
            raise ImmuneError(
                f"{model} was trained on the recipe {trained_on.recipe}, which cannot be found "
                f"({error}): give the recipe's file with --recipe"
            ) from None
    else:
        candidate = Asker(recipe, context)
    if candidate.asking_sha256 == trained_on.asking_sha256:
        return candidate
    if candidate.recipe != trained_on.recipe:
        raise ImmuneError(
            f"{model} was trained on the recipe {trained_on.recipe}, and {candidate.recipe} has "
            "other prompts: leave out --recipe, or give a model of that recipe"
        )
    raise ImmuneError(
        f"{model} was trained on the recipe {trained_on.recipe} of immune {trained_on.version}, "
        "whose prompts or limits have changed since: use that version, or give the old "
        "recipe file with --recipe"
    )


def mismatch(records: Path, asker: Asker) -> str | None:
    """A note if the manifest next to the records names a recipe with other prompts."""
    dataset = of_manifest(records.with_name(manifest.NAME))
    if dataset is None or dataset.asking_sha256 == asker.asking_sha256:
        return None
    return (
        f"note: {records} has the prompts of the recipe {dataset.recipe}, "
        f"but the model is for {asker.recipe}"
    )
