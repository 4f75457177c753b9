"""Questions to ask of scripted servers, and what asks them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from immune_data.ask import asking
from immune_data.ask.asking import Report
from immune_data.ask.endpoints import Endpoint, Keys
from immune_data.ask.request import Question, Request
from immune_data.ask.store import Store
from immune_data.prompts import Message

MODEL = "m"


def anything(text: str) -> str | None:
    return None


def question(
    said: object, *, problem: Callable[[str], str | None] = anything, **more: int
) -> Question:
    request = Request(
        MODEL, (Message("user", f"Say {said}."),), {"max_tokens": 50, "temperature": 0}
    )
    return Question(request, about=f"incident {said}", problem=problem, **more)


def questions(number: int) -> list[Question]:
    return [question(i) for i in range(number)]


def ask(
    store: Store | Path,
    asked: Iterable[Question],
    endpoints: Sequence[Endpoint],
    *,
    together: int = 1,
    budget: float | None = None,
) -> Report:
    """Ask questions in groups of some."""
    found = list(asked)
    groups = (found[i : i + together] for i in range(0, len(found), together))
    if isinstance(store, Path):
        with Store(store) as opened:
            return ask(opened, found, endpoints, together=together, budget=budget)
    return asking.run({MODEL: iter(groups)}, endpoints, Keys(endpoints), store, budget=budget)
