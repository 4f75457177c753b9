"""Small random source folders: a seed in, files with all that real ones hold out."""

from __future__ import annotations

import random
import string
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from corpus import CAUSE_RISK, CAUSE_RISK_RUN, FIELDS, MERGED, RUN_1, RUN_2, SUMMARIES, Corpus

# The corpora that several tests look at, as these recipes emit them: `random_part` of conftest.
DOCUMENTED = ("unified-v1", "unified-v2", "unified-v3", "risk", "published")
EMITTED = [(seed, DOCUMENTED[seed % len(DOCUMENTED)]) for seed in range(10)]
EMITTED_CLEAN = [(seed, "unified-clean") for seed in range(100, 108)]
EMITTED_EDGE = [(seed, "unified-edge") for seed in range(200, 204)]

SPELLINGS = {
    "gpt-4o": ["GPT-4o", "gpt-4o"],
    "gpt-4o-mini": ["GPT-4o-mini", "GPT-4o mini", "gpt-4o-mini"],
    "qwen2.5-3b": ["Qwen2.5 3B", "Qwen2.5 3b", "Qwen2.5-3B", "qwen2.5:3b", "qwen2.5-3b"],
    "qwen2.5-1.5b": [
        *("Qwen2.5", "Qwen2.5 1.5B", "Qwen2.5 1.5b", "Qwen2.5-1.5B", "qwen2.5", "qwen2.5-1.5b"),
    ],
}


def pieces(text: str) -> list[str]:
    return text.split(" ")


# What random texts are made of. None of it decides anything alone; together it is hostile to
# word boundaries, normalisation, JSON and line ends.
WORDS = [
    *pieces("port scan of the host 10.0.0.7 443/tcp beacon DNS it's we'll naïve nai\u0308ve Å"),
    *pieces(
        "한국어 日本 🦙 👩\u200d👩\u200d👧 e\u0301\u0323 ﬁ ſ {evidence} { }} $1 \\1 \\n <b> &amp;"
    ),
    *pieces('\x7f \u200b [INFO] • — ... **** ==== 0 12345 ٣ ½ "quoted"'),
]
LEVELS = pieces("High HIGH low. **Medium** critical! (Low) Risk:High mEDIUM")
NOT_LEVELS = pieces("Highland low_risk HIGHér mediums Critically Slow 4High 日Low")
# Levels by Python's `re`: ı and İ are an i in another case, and these marks no part of a word.
ODD_LEVELS = pieces("Hıgh CRİTICAL Crıtıcal High\u0301 Medium\u200b")
SPACES = (*(" " * 12), "\n", "\t", "\r\n", "\u00a0", "\u2003", "\u2028", "\x1c", "\x85", "  ")
BLANKS = ("", " ", "\n", " \t\u00a0\n")
LENGTHS = {
    "summary": (1, 199, 200, 203, 260, 700, 1600, 1603, 1604, 3000),
    "cause": (3, 199, 200, 300, 900, 2400, 2403, 2404, 5000),
    "risk": (4, 119, 120, 123, 250, 600, 1200, 1203, 1204, 2000),
}
WORD_COUNTS = {
    "summary": (40, 60, 100),
    "cause": (49, 50, 51, 80, 100, 200, 599, 600, 601),
    "risk": (29, 30, 31, 60, 90, 150, 299, 300, 301),
}
SCORES = {
    "summary": (0, 3, 3.5, 3.999, 4, 4.0, 5, 7, 8, 8, 9, 9.5, 10),
    "cause": (0, 13, 13.5, 14, 14.0, 15, 20, 20, 24.5, 27, 30),
    "risk": (0, 9, 9.75, 10, 10.0, 12, 18, 21, 21, 25, 30),
}


class RandomCorpus:
    """A small corpus drawn by a seed: mostly sound, with everything that real files hold."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._common = [self._line() for _ in range(12)]

    def write(self, folder: Path) -> Path:
        """Draw the corpus and write it into `folder`, which comes back."""
        rng = self._rng
        corpus = Corpus()
        ids = sorted({self._incident_id() for _ in range(rng.randint(5, 40))})
        merged = rng.random() < 0.2
        for incident in ids:
            where = rng.choice(("both",) * 8 + ("summaries", "cause_risk"))
            if where != "cause_risk":
                corpus.rows[SUMMARIES].append(self._summaries(incident))
            if where != "summaries":
                corpus.rows[CAUSE_RISK].append(self._cause_risk(incident))
            if merged and rng.random() < 0.9:
                corpus.rows[MERGED].append(self._summary_verdict(incident))
            if not merged:
                for name, share in ((RUN_1, 0.7), (RUN_2, 0.5)):
                    if rng.random() < share:
                        corpus.rows[name].append(self._summary_verdict(incident))
            if rng.random() < 0.93:
                corpus.rows[CAUSE_RISK_RUN].append(self._cause_risk_verdict(incident))
        corpus.rows[MERGED if merged else RUN_1].append(self._summary_verdict("nobody"))
        corpus.rows[CAUSE_RISK_RUN].append(self._cause_risk_verdict("nobody"))
        for rows in corpus.rows.values():
            rng.shuffle(rows)
        return corpus.write(
            folder,
            gzipped=rng.random() < 0.3,
            bom=rng.random() < 0.3,
            wrapped=rng.random() < 0.3,
            ascii_only=rng.random() < 0.5,
        )

    def _incident_id(self) -> str:
        rng = self._rng
        if rng.random() < 0.2:
            return rng.choice(pieces("Zürich zu\u0308rich ﬀ \U0001f999 \uffee a\tb x'y q\"q 10 9"))
        text = str(uuid.UUID(int=rng.getrandbits(128)))
        return text.upper() if rng.random() < 0.2 else text

    def _facts(self, incident: str) -> dict[str, Any]:
        rng = self._rng
        facts = {
            "category": rng.choice(("Malware", "Normal", None)),
            "source_ip": rng.choice(("10.0.0.7", "fe80::1", "", None)),
            "timewindow": rng.choice(("1", "{evidence}", "$0", None)),
            "timeline": rng.choice(("a to b", "10:15 \\g<1> to {timeline}", None)),
            "threat_level": rng.choice((0, 12.5, 2.675, 1e6, -1, 15, None)),
            "event_count": rng.choice((0, 7, 15.0, 2**40, None)),
            "unknown": {"summary_of": [1, None]},
        }
        kept = {key: value for key, value in facts.items() if rng.random() < 0.85}
        return {"incident_id": incident, **kept}

    def _summaries(self, incident: str) -> dict[str, Any]:
        rng = self._rng
        row = self._facts(incident)
        self._put(row, "dag_analysis", self._dag, sound=0.5)
        for field, _ in FIELDS.values():
            form = rng.random()
            if form < 0.7:
                row[field] = {"summary": self._answer("summary"), "behavior_analysis": "Odd."}
            elif form < 0.85:
                row[field] = self._answer("summary")
            else:
                self._put(row, field, lambda: {"behavior_analysis": None, "n": 1}, sound=0.3)
        return row

    def _cause_risk(self, incident: str) -> dict[str, Any]:
        rng = self._rng
        row = self._facts(incident)
        self._put(row, "dag_analysis", self._dag, sound=0.85)
        mixed = LEVELS + NOT_LEVELS + ODD_LEVELS
        levels = rng.choice((LEVELS, LEVELS, LEVELS, mixed, mixed, NOT_LEVELS, ODD_LEVELS))
        for _, field in FIELDS.values():
            form = rng.random()
            if form < 0.85:
                entry: dict[str, Any] = {}
                self._put(entry, "cause_analysis", partial(self._answer, "cause"), sound=0.93)
                self._put(
                    entry, "risk_assessment", partial(self._answer, "risk", levels), sound=0.93
                )
                row[field] = entry
            else:
                self._put(row, field, lambda: "a bare string", sound=0.3)
        return row

    def _put(self, row: dict[str, Any], key: str, make: Callable[[], Any], *, sound: float) -> None:
        """A value, or one of the ways to have none."""
        if self._rng.random() < sound:
            row[key] = make()
        else:
            form = self._rng.choice((None, "missing", *BLANKS))
            if form != "missing":
                row[key] = form

    def _word(self, levels: list[str]) -> str:
        rng = self._rng
        return rng.choice(levels if levels and rng.random() < 0.06 else WORDS)

    def _answer(self, task: str, levels: list[str] | None = None) -> str:
        """A text of a number of words, or of characters, that is often at a bound."""
        rng = self._rng
        levels = levels or []
        if rng.random() < 0.6:
            wanted = rng.choice(WORD_COUNTS[task])
            text = ""
            while len(text.split()) < wanted:
                text += self._word(levels).replace(" ", "") + rng.choice(SPACES)
            text = " ".join(text.split()[:wanted]) if rng.random() < 0.5 else text
        else:
            wanted = rng.choice(LENGTHS[task])
            text = ""
            while len(text) < wanted:
                text += self._word(levels) + rng.choice(SPACES)
            text = text[: wanted - 1] + "."
        return text

    def _line(self) -> str:
        rng = self._rng
        return " ".join(rng.choice(WORDS) for _ in range(rng.randint(0, 14)))

    def _dag(self) -> str:
        """Lines, most of them common to the corpus; now and then about as many as are shown."""
        rng = self._rng
        size = rng.random()
        if size < 0.8:
            lines = rng.choices((*self._common, self._line()), k=rng.randint(1, 30))
        elif size < 0.9:
            line = rng.choice(("10:15 - scan of 10.0.0.7 [HIGH]", "a b c d e f g h i j", "x"))
            lines = [line] * (rng.choice((3440, 3500, 3600)) // (len(line.split()) * 4))
            lines += [string.ascii_letters[: rng.randint(0, 52)]]
            lines *= rng.choice((1, 2, 4))
        else:
            lines = rng.choices(self._common, k=rng.randint(80, 700))
        ends = rng.choice(("\n", "\n", "\r\n"))
        return ends.join(lines) + rng.choice(("", ends, f"{ends} {ends}")) + rng.choice("x.\u0301")

    def _scored(self, task: str) -> dict[str, Any]:
        rng = self._rng
        models = rng.sample(sorted(SPELLINGS), rng.choice((1, 2, 3, 4, 4, 4, 4)))
        scores: dict[str, Any] = {}
        low = rng.random() < 0.1
        for model in models:
            spelling = rng.choice(SPELLINGS[model])
            score = rng.choice(SCORES[task][: 3 if low else None])
            entry: Any = score
            if task != "summary":
                entry = {"total": score}
                if rng.random() < 0.5:
                    entry |= {"evidence_grounding": 3, "actionability": 2.5, "extra": "x"}
            scores[spelling] = entry
        if rng.random() < 0.1:
            scores["GPT-5"] = 10 if task == "summary" else {"total": 30}
        if len(scores) > 1 and rng.random() < 0.1:
            scores[rng.choice(sorted(scores))] = None
        keys = sorted(scores)
        rng.shuffle(keys)
        return {key: scores[key] for key in keys}

    def _rankings(self) -> dict[str, Any]:
        rng = self._rng
        models = rng.sample(sorted(SPELLINGS), 4)
        rankings: dict[str, Any] = {
            str(place): rng.choice(SPELLINGS[model]) for place, model in enumerate(models, start=1)
        }
        form = rng.random()
        if form < 0.05:
            del rankings["1"]
        elif form < 0.1:
            rankings["1"] = rng.choice((None, "GPT-5"))
        return rankings

    def _summary_verdict(self, incident: str) -> dict[str, Any]:
        row = {"incident_id": incident, "scores": self._scored("summary")}
        if self._rng.random() < 0.9:
            row["rankings"] = self._rankings()
        return row

    def _cause_risk_verdict(self, incident: str) -> dict[str, Any]:
        rng = self._rng
        row: dict[str, Any] = {"incident_id": incident}
        if rng.random() < 0.9:
            row["rankings"] = self._rankings()
        left_out = rng.choice(("cause", "risk")) if rng.random() < 0.06 else None
        for task in ("cause", "risk"):
            if task != left_out:
                row[f"{task}_scores"] = self._scored(task)
        row["justification"] = self._line()
        return row
