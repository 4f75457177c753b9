"""What a model was trained to be asked: a dataset's manifest in, keys of a GGUF file, and back.

A model that is asked otherwise than it was trained answers worse without a word. So a file carries
the name of its recipe and one value for the recipe's prompts and cuts, and whoever asks it looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from immune_data.common.errors import ImmuneError
from immune_data.contract.manifest import Asking

if TYPE_CHECKING:
    from gguf import GGUFWriter

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

    @classmethod
    def in_metadata(cls, found: Mapping[str, str]) -> TrainedOn | None:
        """What the keys of a GGUF file say; None where they say nothing.

        Raises:
            ImmuneError: another version of us wrote them.
        """
        keys = [_PREFIX + field.name for field in fields(cls)]
        missing = [key for key in keys if key not in found]
        if not missing:
            return cls(*(found[key] for key in keys))
        if any(key.startswith(_PREFIX) for key in found):
            raise ImmuneError(f"another version of immune wrote it (without {missing[0]})")
        return None


def of_manifest(path: Path) -> TrainedOn | None:
    """What a dataset's manifest says of it; None where there is none that says it."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Asking)
    except (OSError, msgspec.MsgspecError):
        return None
    return TrainedOn(found.recipe, found.asking_sha256, found.inputs.version)
