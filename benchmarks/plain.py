"""The plain script: the work of `emit` as one would write it in an afternoon.

    python benchmarks/plain.py --source data/source --out /tmp/plain --recipe unified-v2

In: the source files. Out: `train.jsonl` and `eval.jsonl`, byte for byte those of `emit`, and the
same counts on standard output.

Whole files through `json.load`, dictionaries and lists, whole texts through tiktoken, thresholds
as constants. It shares with the package only the prompts, whose texts must agree, and tiktoken's
vocabulary. So tests can compare the two, and the benchmark has a competitor that does the same
work. It trusts its input: no rejects, no tables, no database.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import random
import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import tiktoken

from immune_data import prompts

SUMMARIES = "summarization_dataset_v4.json"
CAUSE_RISK = "risk_dataset_v2.json"
SUMMARY_RUNS = (
    "summarization_dataset_v3_results_oss.json",
    "summarization_v4_new_results_oss.json",
    "summarization_results_merged.json",
)
CAUSE_RISK_RUN = "risk_dataset_v2_results_qwen35.json"

# Model: the field of its answers in the summaries, the one in the other dataset, its spellings.
MODELS = {
    "gpt-4o": (
        "llm_gpt_4o_analysis",
        "cause_risk_gpt_4o",
        ["GPT-4o", "gpt-4o"],
    ),
    "gpt-4o-mini": (
        "llm_gpt4o_mini_analysis",
        "cause_risk_gpt_4o_mini",
        ["GPT-4o-mini", "GPT-4o mini", "gpt-4o-mini"],
    ),
    "qwen2.5-3b": (
        "llm_qwen2_5:3b_analysis",
        "cause_risk_qwen2_5:3b",
        ["Qwen2.5 3B", "Qwen2.5 3b", "Qwen2.5-3B", "qwen2.5:3b", "qwen2.5-3b"],
    ),
    "qwen2.5-1.5b": (
        "llm_qwen2_5_analysis",
        "cause_risk_qwen2_5",
        ["Qwen2.5", "Qwen2.5 1.5B", "Qwen2.5 1.5b", "Qwen2.5-1.5B", "qwen2.5", "qwen2.5-1.5b"],
    ),
}
CANONICAL = {spelling: model for model, (_, _, names) in MODELS.items() for spelling in names}

SUMMARY_SCORE = 4
CAUSE_TOTAL = 14
RISK_TOTAL = 10
SUMMARY_CHARS4 = range(50, 400 + 1)
CAUSE_CHARS4 = range(50, 600 + 1)
RISK_CHARS4 = range(30, 300 + 1)
CAUSE_WORDS = range(50, 600 + 1)
RISK_WORDS = range(30, 300 + 1)
RISK_LEVEL = re.compile(r"\b(Critical|High|Medium|Low)\b", re.IGNORECASE)

EVAL_SHARE = 0.1
SEED = 42
DAG_LIMIT = 3500
DAG_MARKER = "[truncated: showing first ~3500 tokens of full DAG]"
DEFAULT_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."

RECIPES = ("unified-v1", "unified-v2", "unified-v3", "risk", "published")

ENCODING = tiktoken.get_encoding("qwen2.5")


def tokens(text: str) -> int:
    return len(ENCODING.encode_ordinary(unicodedata.normalize("NFC", text)))


# Reading


def load(folder: Path, name: str) -> list[dict[str, Any]]:
    """The objects of a source file, plain or gzipped; none if it is missing."""
    path = folder / name
    if path.is_file():
        text = path.read_text(encoding="utf-8-sig")
    elif (folder / f"{name}.gz").is_file():
        text = gzip.decompress((folder / f"{name}.gz").read_bytes()).decode("utf-8-sig")
    else:
        return []
    rows = json.loads(text)
    return rows["incidents"] if isinstance(rows, dict) else rows


def by_incident(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    rows_by_id: dict[str, dict[str, Any]] = {}
    for row in rows:
        rows_by_id.setdefault(row["incident_id"], row)
    return rows_by_id


def answer(row: dict[str, Any], task: str, model: str) -> str | None:
    """One model's answer; None if it is missing, empty or unusable."""
    summary_field, cause_risk_field, _ = MODELS[model]
    if task == "summary":
        entry = row.get(summary_field)
        text = entry.get("summary") if isinstance(entry, dict) else entry
    else:
        entry = row.get(cause_risk_field)
        key = "cause_analysis" if task == "cause" else "risk_assessment"
        text = entry.get(key) if isinstance(entry, dict) else None
    return text if isinstance(text, str) and text.strip() else None


def answers(row: dict[str, Any], task: str) -> dict[str, str]:
    texts = {model: answer(row, task, model) for model in MODELS}
    return {model: text for model, text in texts.items() if text}


def canonical(scores: dict[str, Any]) -> dict[str, float]:
    """Scores by canonical model, in the order of the record's keys."""
    by_model: dict[str, float] = {}
    for key, entry in scores.items():
        if key in CANONICAL and entry is not None:
            total = entry["total"] if isinstance(entry, dict) else entry
            by_model.setdefault(CANONICAL[key], float(total))
    return by_model


class Corpus:
    """The source files in memory, and the judges' scores by canonical model."""

    def __init__(self, folder: Path) -> None:
        self.summaries = by_incident(load(folder, SUMMARIES))
        self.cause_risk = by_incident(load(folder, CAUSE_RISK))
        self.dag_tokens: dict[tuple[str, str], int] = {}
        self.summary_scores: dict[str, dict[str, float]] = {}
        for name in SUMMARY_RUNS:
            for row in load(folder, name):
                scores = canonical(row.get("scores", {}))
                if scores:
                    self.summary_scores.setdefault(row["incident_id"], scores)
        self.cause_scores: dict[str, dict[str, float]] = {}
        self.risk_scores: dict[str, dict[str, float]] = {}
        self.first_ranked: dict[str, str | None] = {}
        for incident, row in by_incident(load(folder, CAUSE_RISK_RUN)).items():
            cause = canonical(row.get("cause_scores", {}))
            risk = canonical(row.get("risk_scores", {}))
            if cause and risk:
                self.cause_scores[incident] = cause
                self.risk_scores[incident] = risk
                first = (row.get("rankings") or {}).get("1")
                self.first_ranked[incident] = CANONICAL.get(first)

    def dag(self, incident: str) -> tuple[str, int] | None:
        """The evidence shown for an incident and its tokens, the risk dataset's first."""
        for name, rows in (("cause_risk", self.cause_risk), ("summaries", self.summaries)):
            if (name, incident) in self.dag_tokens:
                return rows[incident]["dag_analysis"], self.dag_tokens[name, incident]
        return None

    def facts(self, incident: str) -> dict[str, str]:
        def fact(name: str) -> Any:
            for rows in (self.cause_risk, self.summaries):
                value = rows.get(incident, {}).get(name)
                if value is not None:
                    return value
            return None

        events = fact("event_count")
        return prompts.facts(
            incident,
            fact("source_ip"),
            fact("timewindow"),
            fact("timeline"),
            fact("threat_level"),
            None if events is None else int(events),
        )

    def count_texts(self) -> dict[str, int]:
        """Tokens of every DAG of both datasets and of every response, by kind."""
        totals = {"summary": 0, "cause": 0, "risk": 0}
        for name, rows, tasks in (
            ("summaries", self.summaries, ("summary",)),
            ("cause_risk", self.cause_risk, ("cause", "risk")),
        ):
            for incident, row in rows.items():
                dag = row.get("dag_analysis")
                if dag and dag.strip():
                    self.dag_tokens[name, incident] = tokens(dag)
                for task in tasks:
                    totals[task] += sum(map(tokens, answers(row, task).values()))
        return {"dags": sum(self.dag_tokens.values()), **totals}


# Selecting


def winner(scores: dict[str, float]) -> str:
    """The highest score; if equal, the first key."""
    return max(scores, key=scores.__getitem__)


def verdict(corpus: Corpus, incident: str) -> str | None:
    """The first gate that a pool incident fails."""
    summaries = answers(corpus.summaries[incident], "summary").values()
    causes = answers(corpus.cause_risk[incident], "cause").values()
    risks = answers(corpus.cause_risk[incident], "risk").values()
    if max(corpus.summary_scores[incident].values()) < SUMMARY_SCORE:
        return "summary_score"
    if max(corpus.cause_scores[incident].values()) < CAUSE_TOTAL:
        return "cause_score"
    if max(corpus.risk_scores[incident].values()) < RISK_TOTAL:
        return "risk_score"
    if not any(len(text) // 4 in SUMMARY_CHARS4 for text in summaries):
        return "summary_length"
    if not any(len(text) // 4 in CAUSE_CHARS4 for text in causes):
        return "cause_length"
    if not any(len(text) // 4 in RISK_CHARS4 for text in risks):
        return "risk_length"
    if not any(RISK_LEVEL.search(text) for text in risks):
        return "risk_level"
    return None


def standalone_verdict(corpus: Corpus, incident: str) -> str | None:
    """The first gate that the judge's first-ranked model fails."""
    model = corpus.first_ranked[incident]
    cause_score = corpus.cause_scores[incident].get(model)
    risk_score = corpus.risk_scores[incident].get(model)
    if cause_score is None or cause_score < CAUSE_TOTAL:
        return "cause_score"
    if risk_score is None or risk_score < RISK_TOTAL:
        return "risk_score"
    cause = answer(corpus.cause_risk[incident], "cause", model) or ""
    risk = answer(corpus.cause_risk[incident], "risk", model) or ""
    if len(cause.split()) not in CAUSE_WORDS:
        return "cause_length"
    if len(risk.split()) not in RISK_WORDS:
        return "risk_length"
    if not RISK_LEVEL.search(risk):
        return "risk_level"
    return None


def split_unified(passing: list[str]) -> tuple[list[str], list[str]]:
    shuffled = list(passing)
    random.Random(SEED).shuffle(shuffled)
    held_out = max(1, round(EVAL_SHARE * len(shuffled)))
    return shuffled[held_out:], shuffled[:held_out]


def split_standalone(passing: list[str]) -> tuple[list[str], list[str]]:
    order = np.random.RandomState(SEED).permutation(len(passing))
    shuffled = [passing[i] for i in order]
    held_out = math.ceil(EVAL_SHARE * len(shuffled))
    return shuffled[held_out:], shuffled[:held_out]


# Rendering


def cut_to_tokens(dag: str) -> str:
    """The whole lines of a DAG over the limit that fit it, and the marker."""
    ids = ENCODING.encode_ordinary(unicodedata.normalize("NFC", dag))
    lines = [line + "\n" for line in dag.split("\n")]
    budget = DAG_LIMIT - tokens(DAG_MARKER)
    # The number of complete lines within the budget's tokens; a token may span two lines, so the
    # number is then corrected by counting.
    number = ENCODING.decode(ids[:budget]).count("\n")
    while number and tokens("".join(lines[:number])) > budget:
        number -= 1
    while tokens("".join(lines[: number + 1])) <= budget:
        number += 1
    return "".join(lines[:number]) + DAG_MARKER


def cut_to_words(dag: str) -> str:
    budget = DAG_LIMIT - len(DAG_MARKER.split())
    lines = []
    for line in dag.split("\n"):
        budget -= len(line.split())
        if budget < 0:
            break
        lines.append(line + "\n")
    return "".join(lines) + DAG_MARKER


def conversation_tokens(messages: list[dict[str, str]]) -> int:
    """Tokens under Qwen2.5's chat template: <|im_start|>role\\ncontent<|im_end|>\\n per message."""
    if messages[0]["role"] != "system":
        messages = [{"role": "system", "content": DEFAULT_SYSTEM}, *messages]
    return sum(
        1 + tokens(f"{message['role']}\n{message['content']}") + 1 + tokens("\n")
        for message in messages
    )


class Renderer:
    """Records of a corpus: the prompts filled in, the evidence cut."""

    def __init__(self, corpus: Corpus, recipe: str) -> None:
        self._corpus = corpus
        self._unit = "words" if recipe == "published" else "tokens"
        self._prompts = prompts.load(Path(prompts.__file__).parent)

    def unified(self, incident: str) -> list[dict[str, Any]]:
        """Summary, cause and risk of the winners; empty if one of them has no answer."""
        corpus = self._corpus
        summary_model = winner(corpus.summary_scores[incident])
        cause_model = winner(corpus.cause_scores[incident])
        winners = (
            ("summary", summary_model, corpus.summary_scores[incident][summary_model]),
            ("cause", cause_model, corpus.cause_scores[incident][cause_model]),
            ("risk", cause_model, corpus.risk_scores[incident].get(cause_model)),
        )
        return self._records(incident, winners, "unified")

    def standalone(self, incident: str) -> list[dict[str, Any]]:
        corpus = self._corpus
        model = corpus.first_ranked[incident]
        winners = (
            ("cause", model, corpus.cause_scores[incident][model]),
            ("risk", model, corpus.risk_scores[incident][model]),
        )
        return self._records(incident, winners, "risk_only")

    def _records(self, incident: str, winners: tuple, origin: str) -> list[dict[str, Any]]:
        corpus = self._corpus
        shown = corpus.dag(incident)
        if shown is None:
            return []
        dag, dag_tokens = shown
        evidence = dag
        if self._unit == "tokens" and dag_tokens > DAG_LIMIT:
            evidence = cut_to_tokens(dag)
        elif self._unit == "words" and len(dag.split()) > DAG_LIMIT:
            evidence = cut_to_words(dag)
        facts = corpus.facts(incident)
        records = []
        for task, model, score in winners:
            rows = corpus.summaries if task == "summary" else corpus.cause_risk
            text = answer(rows[incident], task, model)
            if text is None:
                return []
            prompt = self._prompts[task].render(facts, evidence)
            messages = [
                *({"role": message.role, "content": message.content} for message in prompt),
                {"role": "assistant", "content": text},
            ]
            records.append(
                {
                    "messages": messages,
                    "incident_id": incident,
                    "task": task,
                    "model": model,
                    "score": score,
                    "dag_truncated": evidence != dag,
                    "origin": origin,
                    "tokens": conversation_tokens(messages),
                }
            )
        return records


# The whole run


def build(source: Path, out: Path, recipe: str) -> dict[str, Any]:
    """Write the dataset of `recipe` to `out` and return its counts."""
    corpus = Corpus(source)
    counts: dict[str, Any] = {"tokens": corpus.count_texts()}

    read = {*corpus.summaries, *corpus.cause_risk}
    both = corpus.summaries.keys() & corpus.cause_risk.keys()
    on_cause_risk = both & corpus.cause_scores.keys()
    pool = sorted(on_cause_risk & corpus.summary_scores.keys())
    verdicts = {incident: verdict(corpus, incident) for incident in pool}
    train, held_out = split_unified([key for key in pool if verdicts[key] is None])

    judged = [incident for incident in corpus.cause_scores if incident in corpus.cause_risk]
    standalone_verdicts = {incident: standalone_verdict(corpus, incident) for incident in judged}
    risk_train, risk_held_out = split_standalone(
        [key for key in judged if standalone_verdicts[key] is None]
    )

    renderer = Renderer(corpus, recipe)
    records: dict[str, list[dict[str, Any]]] = {"train": [], "eval": []}
    risk_only: list[str] = []
    if recipe == "risk":
        for split, incidents in (("train", risk_train), ("eval", risk_held_out)):
            for incident in incidents:
                records[split] += renderer.standalone(incident)
    else:
        for split, incidents in (("train", train), ("eval", held_out)):
            for incident in incidents:
                records[split] += renderer.unified(incident)
        if recipe != "unified-v1":
            in_train = set(train)
            risk_only = [key for key in risk_train if key not in in_train]
            for incident in risk_only:
                records["train"] += renderer.standalone(incident)
        if recipe == "unified-v3":
            records["train"] += [row for row in records["train"] if row["task"] != "summary"]

    out.mkdir(parents=True, exist_ok=True)
    for split, rows in records.items():
        with (out / f"{split}.jsonl").open("w", encoding="utf-8", newline="\n") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")

    counts["incidents"] = {
        "read": len(read),
        "both datasets": len(both),
        "judged on causes and risks": len(on_cause_risk),
        "pool": len(pool),
        "passing": len(train) + len(held_out),
        "train": len(train),
        "eval": len(held_out),
        "risk judged": len(judged),
        "risk passing": len(risk_train) + len(risk_held_out),
        "risk train split": len(risk_train),
        "risk-only train": len(risk_only),
    }
    counts["failed"] = tally(verdicts.values())
    counts["risk failed"] = tally(standalone_verdicts.values())
    counts["records"] = {
        f"{split} {task}": sum(row["task"] == task for row in rows)
        for split, rows in records.items()
        for task in ("summary", "cause", "risk")
    }
    return counts


def tally(verdicts: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for gate in verdicts:
        if gate is not None:
            counts[gate] = counts.get(gate, 0) + 1
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description="The work of emit as a plain script.")
    parser.add_argument("--source", type=Path, default=Path("data/source"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", choices=RECIPES, default="unified-v2")
    arguments = parser.parse_args()
    counts = build(arguments.source, arguments.out, arguments.recipe)
    for title, values in counts.items():
        print(title)
        for name, number in values.items():
            print(f"  {name:<28}{number:>12,}")


if __name__ == "__main__":
    main()
