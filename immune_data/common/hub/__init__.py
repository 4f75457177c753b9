"""The Hugging Face Hub: addresses of repositories, to download from and to upload to."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from immune_data.common.errors import ImmuneError

Kind = Literal["dataset", "model"]
Report = Callable[[str], None]

MANIFEST = "manifest.json"  # of a publication: it names every other file by its sha256

_ADDRESS = re.compile(
    r"hf://datasets/(?P<repo_id>[\w][\w.-]*/[\w][\w.-]*)(?:@(?P<revision>[\w./+-]+))?"
)


@dataclass(frozen=True)
class Address:
    """A dataset repository on the Hub, at a revision if one is named."""

    repo_id: str
    revision: str | None

    def __str__(self) -> str:
        return self.repo_id + (f"@{self.revision}" if self.revision else "")


def address(text: str) -> Address:
    """The address in a `hf://` text.

    Raises:
        ImmuneError: it is not one.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or ".." in text:
        raise ImmuneError(
            f"{text} is not a dataset: write hf://datasets/ORG/NAME[@REV] or a folder"
        )
    return Address(match["repo_id"], match["revision"])
