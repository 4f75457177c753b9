"""The evaluation that docs/evaluation.md shows: made-up incidents, answers, verdicts and numbers.

    python tests/support/evaluation_example.py docs      (or: make docs)

Out: `evaluation-example.html` and, of its figures, `evaluation-example.svg`.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from pathlib import Path

from answers import CAUSE
from evaluated import JUDGE, World, risk

from immune_train.evaluate import __main__ as evaluate
from immune_train.evaluate import baselines, outputs
from immune_train.evaluate.evaluation import Files

NAME = "evaluation-example"
FIGURE = "scores-summary.svg"
_LEVELS = ("Critical", "High", "Medium", "Low")
_POINTS = {"reference": 7.4, "tuned": 6.7, "base": 4.2, "extract": 5.1}


def world(folder: Path) -> World:
    """72 incidents; a tuned model that is nearly as good as the reference, and its base."""
    made = World(folder, incidents=72, grouped=True, seed=3)
    drawn = random.Random(3)
    shown = {
        record["incident_id"]: record["messages"][0]["content"]
        for record in made.records(made.names, "10.0.0")
    }

    def summary(incident: str, bullets: int) -> str:
        """What `extract` says, less some bullets."""
        lines = baselines.extract(shown[incident]).splitlines()
        first = next(i for i, line in enumerate(lines) if line.startswith("•"))
        return "\n".join(lines[: first + bullets] + lines[first + 2 :])

    def reference(incident: str, task: str) -> str:
        if task == "summary":
            return summary(incident, 2)
        normal = made.category(incident) == "Normal"
        return CAUSE if task == "cause" else risk("Medium" if normal else "High", "Medium")

    def tuned(incident: str, task: str) -> str:
        if task == "risk" and drawn.random() < 0.25:
            return risk(drawn.choice(_LEVELS))
        if task == "summary" and drawn.random() < 0.15:
            return "The host scanned port 8080 of 198.51.100.9."
        return reference(incident, task)

    def base(incident: str, task: str) -> str | None:
        if drawn.random() < 0.05:
            return None
        if task == "risk":
            return risk(drawn.choice(_LEVELS))
        return summary(incident, 1) if task == "summary" and drawn.random() < 0.5 else "A scan."

    made.write(
        "data/eval.jsonl",
        [
            {**one, "messages": [one["messages"][0], {"role": "assistant", "content": said}]}
            for one in made.records(made.names, "10.0.0")
            for said in [reference(one["incident_id"], one["task"])]
        ],
    )
    made.run("tiny", {"t000": "train"})
    made.answers("tuned", tuned)
    made.answers("base", base)
    return made


def verdicts(made: World) -> tuple[Path, Path]:
    """Files of verdicts on summaries, and on causes and risks, by a judge that is chance."""
    drawn = random.Random(4)

    def points(name: str, most: int) -> float:
        return min(most, max(0, round(drawn.gauss(_POINTS[name] * most / 10, most / 8), 1)))

    rows = made.summary_verdicts(lambda _, name: points(name, 10), _POINTS)
    summary = made.verdicts("summary-verdicts.json", rows)
    both = [
        {
            "incident_id": incident,
            **{
                f"{task}_scores": {
                    name: {"total": points(name, 30)} for name in ("reference", "tuned", "base")
                }
                for task in ("cause", "risk")
            },
        }
        for incident in made.names
    ]
    return summary, made.verdicts("cause-risk-verdicts.json", both, **JUDGE)


def files(folder: Path) -> Files:
    """Everything that the example is made of, written into a folder."""
    made = world(folder)
    return Files(folder / "data" / "eval.jsonl", (folder / "tiny",), made.files, verdicts(made))


def write(to: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        given = files(Path(name))
        command: list[object] = ["--reference", given.reference, "--trained", *given.runs]
        command += ["--verdicts", *given.verdicts, "--output", Path(name) / "out"]
        command += [f"{name}={path}" for name, path in given.answers.items()]
        assert evaluate.main([str(one) for one in command]) == 0
        shutil.copy2(Path(name) / "out" / outputs.PAGE, to / f"{NAME}.html")
        shutil.copy2(Path(name) / "out" / outputs.FIGURES / FIGURE, to / f"{NAME}.svg")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
