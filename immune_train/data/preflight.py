"""What training would do to a dataset, before any weights are loaded: rows in, a report out.

Libraries silently cut what does not fit the context. Here every row that would lose part of its
answer is an error, unless the config says what to do with it; then it is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from immune_data.common import table
from immune_data.common.errors import CheckFailed, ImmuneError
from immune_data.common.text import are, counted, one_line
from immune_data.contract.record import Record
from immune_train.configs import Config
from immune_train.data import plan
from immune_train.data.dataset import Dataset, shortest
from immune_train.data.labels import Renderer, Row
from immune_train.data.packing import layout
from immune_train.data.plan import Plan

TASKS = ("summary", "cause", "risk")


@dataclass(frozen=True)
class Split:
    """The rows of a split as they will be trained on, and the numbers of the others."""

    rows: list[Row]
    records: int
    over: int
    answers_cut: int
    answers_lost: int
    dropped: int

    def counts(self) -> dict[str, Any]:
        """The split in numbers."""
        tokens = sum(len(row.input_ids) for row in self.rows)
        supervised = sum(row.supervised for row in self.rows)
        return {
            "records": len(self.rows),
            "tokens": tokens,
            "supervised_tokens": supervised,
            "by_task": {
                task: {
                    "records": sum(row.task == task for row in self.rows),
                    "tokens": sum(len(row.input_ids) for row in self.rows if row.task == task),
                    "supervised_tokens": sum(r.supervised for r in self.rows if r.task == task),
                }
                for task in TASKS
            },
            "over_context": self.over,
            "answers_cut": self.answers_cut,
            "answers_lost": self.answers_lost,
            "dropped": self.dropped,
        }


@dataclass(frozen=True)
class Preflight:
    """Both splits, the share of padding in padded batches, and the packs of a step if packed."""

    train: Split
    eval: Split
    leaked: dict[str, int]
    padding: float
    packs_a_step: float
    notes: list[str]
    plan: Plan | None = None

    def as_json(self) -> dict[str, Any]:
        counts = {key: value for key, value in asdict(self).items() if key not in ("train", "eval")}
        return {"train": self.train.counts(), "eval": self.eval.counts(), **counts}


def inspect(config: Config, dataset: Dataset, renderer: Renderer) -> Preflight:
    """Render every record and report what context, batches and split do to it.

    Raises:
        ImmuneError: a record was counted under another template or tokenizer.
        CheckFailed: an answer would be cut, a row carries no loss, or an eval incident is in
            train, and the config does not allow that.
    """
    leaked = dataset.leaked
    if leaked and not config.allow_leak:
        raise CheckFailed(
            f"{counted(len(leaked), 'train record')} {are(len(leaked))} of eval incidents (first: "
            f"{leaked[0].incident_id}), so the eval loss would be meaningless: train on another "
            "recipe, such as unified-clean, or set allow_leak=true"
        )
    train = _split("train", shortest(dataset.train, config.records_train), config, renderer)
    eval = _split("eval", shortest(dataset.eval, config.records_eval), config, renderer)
    lengths = [len(row.input_ids) for row in train.rows]
    padding, packs = layout(
        lengths, config.per_device_train_batch_size, config.step, config.capacity
    )
    by_task: Counter[str] = Counter(record.task for record in leaked)
    leaks = {task: by_task[task] for task in TASKS if by_task[task]}
    notes = [*config.warnings(), *_origin_notes(config, dataset), *_leak_notes(leaks, dataset)]
    for name, split in (("train", train), ("eval", eval)):
        notes += _overflow_notes(name, split, config)
    return Preflight(train, eval, leaks, padding, packs, notes)


def show(preflight: Preflight, config: Config) -> None:
    """Print the report."""
    rows = []
    for name, split in (("train", preflight.train), ("eval", preflight.eval)):
        counts = split.counts()
        for task, of_task in (*counts["by_task"].items(), ("all", counts)):
            if of_task["records"]:
                share = of_task["supervised_tokens"] / of_task["tokens"]
                supervised = of_task["supervised_tokens"]
                cells = [of_task["records"], of_task["tokens"], supervised, f"{share:.1%}"]
                rows.append([name, task, *cells])
    columns = ["split", "task", "records", "tokens", "with loss", "share"]
    table.show(f"what {config.name} trains on", columns, rows)
    counts = preflight.train.counts()
    if preflight.plan:
        plan.show(preflight.plan, config)
    over = counts["over_context"]
    batches = f"in batches of {config.per_device_train_batch_size}"
    if config.packing:
        print(
            f"a step is packed: {preflight.packs_a_step:.1f} packs of up to {config.capacity:,} "
            f"tokens on average, without padding ({batches}: {preflight.padding:.1%} padding)"
        )
    else:
        print(
            f"a step is padded, {batches}: {preflight.padding:.1%} of all tokens are padding "
            "(none if packed)"
        )
    print(
        f"{over:,} of {counted(preflight.train.records, 'train record')} {are(over)} longer than "
        f"the context of {config.max_length:,} tokens"
    )
    for note in (*preflight.notes, *(preflight.plan.warnings() if preflight.plan else ())):
        print(one_line(f"warning: {note}"))


def _split(name: str, records: Sequence[Record], config: Config, renderer: Renderer) -> Split:
    rows: list[Row] = []
    over = cut = lost = dropped = 0
    for record, row in zip(records, renderer.rows(records), strict=True):
        if row.joined != record.tokens:
            raise ImmuneError(
                f"the {record.task} record of {record.incident_id} in {name} has {row.joined:,} "
                f"tokens by the model's tokenizer and {record.tokens:,} by the dataset's: use a "
                "Qwen2.5 model, or emit the dataset again"
            )
        if len(row.input_ids) > config.max_length:
            over += 1
            cut += row.answer < config.max_length < row.end
            lost += row.answer >= config.max_length
            whole = row.end <= config.max_length  # only the line end after the answer is cut
            if config.overflow == "drop" and not whole:
                dropped += 1
                continue
            if config.overflow == "error" and not whole:
                raise CheckFailed(
                    f"the {record.task} record of {record.incident_id} in {name} is "
                    f"{len(row.input_ids):,} tokens long, so at {config.max_length:,} its answer "
                    "would be cut: raise max_length, train on unified-clean, or set overflow=drop "
                    "or overflow=truncate"
                )
            row = row.cut(config.max_length)
        rows.append(row)
    supervised = sum(row.supervised for row in rows)
    if not supervised:
        raise CheckFailed(f"no record of {name} carries loss: there is nothing to learn from it")
    return Split(rows, len(records), over, cut, lost, dropped)


def _origin_notes(config: Config, dataset: Dataset) -> list[str]:
    notes = ["the dataset is synthetic: a model trained on it is only a test"]
    return (notes if dataset.synthetic else []) + _recipe_notes(config, dataset)


def _recipe_notes(config: Config, dataset: Dataset) -> list[str]:
    if dataset.manifest is None:
        return [f"there is no manifest for {dataset.origin}: the files are not verified"]
    recipe = dataset.manifest.recipe
    if recipe != config.recipe:
        return [
            f"config {config.name} is for recipe {config.recipe}, but the dataset is of {recipe}"
        ]
    return []


def _leak_notes(leaked: dict[str, int], dataset: Dataset) -> list[str]:
    if not leaked:
        return []
    records = sum(leaked.values())
    incidents = counted(len({record.incident_id for record in dataset.leaked}), "eval incident")
    by_task = ", ".join(f"{number} {task}" for task, number in leaked.items())
    return [
        f"{counted(records, 'train record')} ({by_task}) {are(records)} of {incidents}: "
        "the eval loss is too optimistic"
    ]


def _overflow_notes(name: str, split: Split, config: Config) -> list[str]:
    if not split.over:
        return []
    if config.overflow == "drop":
        consequence = f"{split.dropped:,} of them {are(split.dropped)} left out"
    else:
        consequence = (
            f"{counted(split.answers_lost, 'whole answer')} and parts of {split.answers_cut:,} "
            "others are lost"
        )
    subject = f"{counted(split.over, f'{name} record')} {are(split.over)}"
    return [f"{subject} longer than {config.max_length:,} tokens: {consequence}"]
