"""Rubrics: the instructions to a judge, a text file for each kind of answers.

In: a folder with `summary.txt` or `cause_risk.txt`; by default ours. Out: the text, and the digest
by which verdict files name their rubric. Only where a rubric contains `{category}` does the judge
see the incident's category.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from immune_data.common import textfile
from immune_data.common.errors import ImmuneError

SHIPPED = Path(__file__).parent / "rubrics"
KINDS = {"summary": ("summary",), "cause_risk": ("cause", "risk")}  # and the tasks each judges

_CATEGORY = "{category}"


@dataclass(frozen=True)
class Rubric:
    """A rubric as the judge reads it."""

    kind: str
    text: str
    sha256: str
    shows_category: bool

    @property
    def tasks(self) -> tuple[str, ...]:
        return KINDS[self.kind]


def load(kind: str, folder: Path | None) -> Rubric:
    """The rubric of a kind of answers.

    Raises:
        ImmuneError: the folder has none.
    """
    path = (folder or SHIPPED) / f"{kind}.txt"
    if not path.is_file():
        raise ImmuneError(
            f"{path} does not exist: a folder of rubrics contains {kind}.txt, the instructions to "
            f"a judge of {kind.replace('_', ' and ')}"
        )
    text = textfile.composed(textfile.read(path)).strip()
    if not text:
        raise ImmuneError(f"{path} is empty: write the instructions to the judge into it")
    return Rubric(
        kind=kind,
        text=text.replace(_CATEGORY, "`category`"),  # what it is called in the data
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        shows_category=_CATEGORY in text,
    )
