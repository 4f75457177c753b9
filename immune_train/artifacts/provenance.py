"""What a model was trained to be asked: a run's dataset in, keys of a GGUF file, and back.

A model that is asked otherwise than it was trained answers worse without a word. So a file carries
the name of its recipe and one value for the recipe's prompts and cuts, and whoever asks it looks.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from immune_data.common.errors import ImmuneError
from immune_train.data.dataset import MANIFEST

if TYPE_CHECKING:
    from gguf import GGUFWriter

    from immune_train.edge.questions import Asker

_PREFIX = "immune."


@dataclass(frozen=True)
class TrainedOn:
    """The dataset of a model: its recipe, `Conversations.sha256` of it, and who emitted it."""

    recipe: str
    asking_sha256: str
    version: str

    def add_to(self, writer: GGUFWriter) -> None:
        """Say it in a GGUF file, in keys of our own, which llama.cpp leaves alone."""
        for key, value in asdict(self).items():
            writer.add_string(f"{_PREFIX}{key}", value)


def of_run(folder: Path) -> TrainedOn | None:
    """What the run in `folder` was trained on; None where its dataset had no manifest."""
    from immune_train.artifacts import run

    return _of_manifest(folder / run.DATASET)


def of_gguf(path: Path) -> TrainedOn | None:
    """What a GGUF file says it was trained on; None where it says nothing.

    Raises:
        ImmuneError: it cannot be read, or llama-cpp-python is missing.
    """
    from immune_train.edge.llama_cpp_api import Model

    model = Model(path, vocab_only=True)
    found = model.metadata()
    model.close()
    try:
        return TrainedOn(*(found[_PREFIX + field.name] for field in fields(TrainedOn)))
    except KeyError:
        return None


def asker(model: Path | None, recipe: str | None, context: int | None = None) -> Asker:
    """What asks a model as it was trained: as `recipe` says, or else the model's own file.

    Raises:
        ImmuneError: the recipe is not one of ours, or asks otherwise than the model was trained.
    """
    from immune_train.edge.questions import DEFAULT_RECIPE, Asker

    trained = of_gguf(model) if model is not None else None
    if trained is None:
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
    emitted = _of_manifest(records.with_name(MANIFEST))
    if emitted is None or emitted.asking_sha256 == made.asking_sha256:
        return None
    return (
        f"note: {records} asks as the recipe {emitted.recipe} does, "
        f"and the model is for {made.recipe}"
    )


def _of_manifest(path: Path) -> TrainedOn | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        values = (found["recipe"], found["asking_sha256"], found["inputs"]["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return TrainedOn(*map(str, values))
