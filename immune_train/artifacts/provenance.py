"""Which prompts a model was trained on: a dataset's manifest in, keys of a GGUF file out, and back.

A model that gets other prompts than it was trained on silently answers worse. So a file contains
the name of its recipe and a digest of the recipe's prompts and limits, which is compared first.
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
    """The dataset of a model: its recipe, `Conversations.sha256` of it, and immune's version."""

    recipe: str
    asking_sha256: str
    version: str

    def add_to(self, writer: GGUFWriter) -> None:
        """Add it to a GGUF file, under keys of our own, which llama.cpp ignores."""
        for key, value in asdict(self).items():
            writer.add_string(f"{_PREFIX}{key}", value)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> TrainedOn | None:
        """The dataset named by the keys of a GGUF file; None if it has no such keys.

        Raises:
            ImmuneError: another version of immune wrote them.
        """
        keys = [_PREFIX + field.name for field in fields(cls)]
        missing = [key for key in keys if key not in metadata]
        if not missing:
            return cls(*(metadata[key] for key in keys))
        if any(key.startswith(_PREFIX) for key in metadata):
            raise ImmuneError(f"another version of immune wrote it (without {missing[0]})")
        return None


def of_manifest(path: Path) -> TrainedOn | None:
    """The dataset described by a manifest; None if it cannot be read or does not say."""
    try:
        asking = msgspec.json.decode(path.read_bytes(), type=Asking)
    except (OSError, msgspec.MsgspecError):
        return None
    return TrainedOn(asking.recipe, asking.asking_sha256, asking.inputs.version)
