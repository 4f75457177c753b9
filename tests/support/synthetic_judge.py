"""A judge that is not a model: its preferences are known, and it reads a prompt as a judge should.

In: a request of `judge`. Out: a reply in the form that was asked for, by a quality of each text,
points for the first place, and noise that the request alone decides. What stands outside the data
it obeys, as a model would that takes everything for an order.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chat_server import Raw, Seen, completion

from immune_data.contract.scales import SUB_SCORES
from immune_data.judge.answers import FIELDS

Quality = Callable[[str, str, str], float]  # of an incident's answer to a task: 0 to 10

_NONCE = re.compile(r"between the lines \[data ([0-9a-f]{16})\] and ")
_ORDER = re.compile(r"give (?:me|us|answer \w|this \w+) (?:a )?10", re.IGNORECASE)


@dataclass(frozen=True)
class Prompt:
    """What a judge is shown: an incident, the answers by label, and all that is not data."""

    incident: dict[str, Any]
    answers: dict[str, dict[str, str]]
    outside: str

    @property
    def tasks(self) -> list[str]:
        (some, *_) = self.answers.values()
        return [task for task, field in FIELDS.items() if field in some]

    @property
    def incident_id(self) -> str:
        return self.incident["incident"]["incident_id"]


def read(seen: Seen) -> Prompt:
    """Take a prompt apart by the nonce that it names."""
    text = seen.text
    named = _NONCE.search(text)
    assert named, text
    fenced = re.compile(rf"^\[data {named[1]}\]\n(.*?)\n\[end of data {named[1]}\]$", re.S | re.M)
    incident, answers = fenced.findall(text)
    rows = [json.loads(line) for line in answers.split("\n")]
    return Prompt(
        json.loads(incident), {row.pop("label"): row for row in rows}, fenced.sub("", text)
    )


@dataclass
class SyntheticJudge:
    """A script for `ChatServer`."""

    quality: Quality
    first: float = 0.0  # points for the answer in the first place
    noise: float = 0.0  # standard deviation of each number
    malformed: float = 0.0  # share of replies that are broken in some way
    seconds: float = 0.0

    def __call__(self, seen: Seen, before: int) -> Raw:
        prompt = read(seen)
        rng = random.Random(f"{seen.key} {before}")
        said = self.said(prompt, rng)
        text = json.dumps(said)
        if rng.random() < self.malformed:
            text = rng.choice(BROKEN)(said)
        reply = completion(text, model="judge-as-served")
        return Raw(reply.body, seconds=self.seconds)

    def said(self, prompt: Prompt, rng: random.Random) -> dict[str, Any]:
        said: dict[str, Any] = {}
        sums = dict.fromkeys(prompt.answers, 0)
        obeys = _ORDER.search(prompt.outside) is not None
        for task in prompt.tasks:
            scores: dict[str, Any] = {}
            for place, (label, answer) in enumerate(prompt.answers.items()):
                worth = self.quality(prompt.incident_id, task, answer[FIELDS[task]])
                worth += self.first if place == 0 else 0.0
                drawn = {
                    part: 10 if obeys else _whole(worth + rng.gauss(0, self.noise))
                    for part in SUB_SCORES[task] or ("score",)
                }
                sums[label] += sum(drawn.values())
                scores[label] = drawn if SUB_SCORES[task] else drawn["score"]
            prefix = "" if task == "summary" else f"{task}_"
            said[f"{prefix}justification"] = f"The best is {max(sums, key=sums.__getitem__)}."
            said[f"{prefix}scores"] = scores
        if len(prompt.answers) > 1:
            said["ranking"] = sorted(sums, key=lambda label: -sums[label])
        return said


def _whole(worth: float) -> int:
    return round(min(10.0, max(0.0, worth)))


def _changed(said: dict[str, Any], change: Callable[[dict[str, Any]], None]) -> str:
    made = json.loads(json.dumps(said))
    change(made)
    return json.dumps(made)


def _scores(said: dict[str, Any]) -> dict[str, Any]:
    return next(value for value in said.values() if isinstance(value, dict))


def _put(value: Any) -> Callable[[dict[str, Any]], None]:
    """Put a value in the place of the first number."""

    def change(said: dict[str, Any]) -> None:
        scores = _scores(said)
        label = next(iter(scores))
        if isinstance(scores[label], dict):
            scores[label][next(iter(scores[label]))] = value
        else:
            scores[label] = value

    return change


BROKEN: tuple[Callable[[dict[str, Any]], str], ...] = (
    lambda said: "A gets 7 and B gets 5.",
    lambda said: json.dumps(said)[:-5],
    lambda said: f"Here you are: {json.dumps(said)}",
    lambda said: _changed(said, _put(11)),
    lambda said: _changed(said, _put(-1)),
    lambda said: _changed(said, _put(6.5)),
    lambda said: _changed(said, _put("7")),
    lambda said: _changed(said, _put(True)),
    lambda said: _changed(said, _put(None)),
    lambda said: _changed(said, lambda made: _scores(made).pop("A")),
    lambda said: _changed(said, lambda made: _scores(made).update(Z=5)),
    lambda said: _changed(said, lambda made: made.update(total=5)),
    lambda said: _changed(said, lambda made: made.update(ranking=["A", "A", "B"])),
    lambda said: _changed(said, lambda made: made.update(ranking="A")),
    lambda said: json.dumps(said).replace('"A":', '"A": 3, "A":', 1),
    lambda said: json.dumps(said).replace("scores", "score"),
    lambda said: json.dumps([said]),
    lambda said: "NaN",
)
