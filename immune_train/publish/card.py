"""The model card: a folder to publish and the run's records in, `README.md` out.

Every number in it is on record in the run's folder; what is not on record is not said. The prose
is in `card.md.jinja`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

import immune_data
from immune_data.common import hub, markdown, templates
from immune_data.common.text import counted
from immune_data.contract import model_terms
from immune_data.prompts import TASKS
from immune_train.artifacts import run as runs
from immune_train.export.quantise import SIXTEEN
from immune_train.export.summary import size
from immune_train.publish.finished_run import Run, Terms

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

_TAGS = ["security", "intrusion-detection", "slips", "lora", "sft", "edge", "trl"]
_SETTINGS = {
    "lora_r": "LoRA rank",
    "lora_alpha": "LoRA alpha",
    "lora_dropout": "LoRA dropout",
    "use_rslora": "rank-stabilised (alpha / √r)",
    "lora_target_modules": "target modules",
    "max_length": "context, tokens",
    "load_in_4bit": "base weights in 4 bits while training",
    "dtype": "precision of the weights",
    "bf16": "bfloat16 arithmetic",
    "num_train_epochs": "epochs",
    "learning_rate": "learning rate",
    "lr_scheduler_type": "learning rate schedule",
    "warmup_steps": "warm-up steps",
    "weight_decay": "weight decay",
    "optim": "optimiser",
    "per_device_train_batch_size": "batch size per device",
    "gradient_accumulation_steps": "gradient accumulation steps",
    "packing": "packing",
    "order": "order of records",
    "overflow": "conversations over the context",
    "allow_leak": "eval incidents allowed in train",
    "seed": "seed",
}
_LOST = {
    "answers_lost": "lost their whole answer to the context and taught nothing",
    "answers_cut": "had their answer cut by the context and taught it to stop early",
    "dropped": "were longer than the context and left out",
}


def render(folder: Path, run: Run, terms: Terms) -> str:
    """The card of what is in `folder`."""
    base, dataset = _base(run), terms.dataset or _dataset(run)
    name = terms.repo_id.partition("/")[2]
    exported = run.exported.get("files", [])
    curves = run.folder / f"{runs.CURVES}.svg"
    return templates.render_markdown(
        "immune_train.publish",
        "card.md.jinja",
        # For metadata and code: names and numbers without any markup.
        metadata=Markup(_metadata(run, name, terms, base, dataset).to_yaml()),
        repo_id=Markup(terms.repo_id),
        license=Markup(terms.license),
        base=base and Markup(base),
        dataset=dataset and Markup(dataset),
        recipe=run.summary.recipe and Markup(run.summary.recipe),
        adapter=Markup(runs.ADAPTER),
        version=Markup(immune_data.__version__),
        gguf=_gguf(run, name),
        curves=curves.is_file() and Markup(curves.name),
        title=name,
        synthetic=run.synthetic,
        smallest=size(min(file["bytes"] for file in exported)) if exported else None,
        context=_number(run.summary.config.get("max_length")),
        leaked=_leaked(run),
        lost=_lost(run),
        losses=_loss_table(run),
        kept=_kept(run),
        scores=_score_table(run),
        compared=Markup(run.evaluation),
        quants=_quant_table(run),
        quantising=_quantising(run),
        chunks=_number((run.exported.get("importance_matrix") or {}).get("chunks")),
        records=_records(run),
        settings=_settings(run),
        facts=_facts(run),
        files=_files(run),
        exported_by=_versions(run.exported.get("made_by")),
        notices=model_terms.notices(run.teachers),
        model_terms=model_terms.table(run.teachers) if run.teachers else None,
    )


def _metadata(
    run: Run, name: str, terms: Terms, base: str | None, dataset: str | None
) -> ModelCardData:
    from huggingface_hub import ModelCardData

    results = _results(run, dataset)
    return ModelCardData(
        language=["en"],
        license=terms.license,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=[
            *_TAGS,
            *(["gguf"] if run.exported else []),
            *(["synthetic"] if run.synthetic else []),
        ],
        base_model=base,
        base_model_relation="finetune" if base else None,
        datasets=[dataset] if dataset else None,
        model_name=name if results else None,
        eval_results=results or None,
    )


def _base(run: Run) -> str | None:
    """The base model's id on the Hub, if that is where it came from."""
    name = run.summary.base_model or ""
    return name if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not Path(name).exists() else None


def _dataset(run: Run) -> str | None:
    """The dataset's id on the Hub, if that is where it came from."""
    return hub.address(run.summary.dataset).repo_id if run.summary.dataset else None


def _results(run: Run, dataset: str | None) -> list[EvalResult]:
    """The losses and perplexities as the Hub's own metadata."""
    from huggingface_hub import EvalResult

    where: dict[str, Any] = {
        "task_type": "text-generation",
        "dataset_type": dataset or "immune",
        "dataset_name": f"{run.summary.recipe or 'unknown recipe'}, eval split",
        "dataset_split": "validation",
    }
    losses = [
        EvalResult(
            **where,
            metric_type="loss",
            metric_name="loss on the answers" + ("" if task == "loss" else f", task {task}"),
            metric_value=round(value, 4),
        )
        for task, value in _losses(run.summary.eval).items()
    ]
    perplexities = [
        EvalResult(
            **where,
            metric_type="perplexity",
            metric_name=f"perplexity on the answers, {file['quant']}",
            metric_value=file["perplexity"],
        )
        for file in run.exported.get("files", [])
        if "perplexity" in file
    ]
    return losses + perplexities


def _losses(by_task: Mapping[str, float | None]) -> dict[str, float]:
    """The losses there are, that over all conversations (`loss`) first."""
    losses = {key: by_task.get(key) for key in ("loss", *TASKS)}
    return {key: loss for key, loss in losses.items() if loss is not None}


def _loss_table(run: Run) -> Markup | None:
    losses, before = _losses(run.summary.eval), _losses(run.summary.baseline)
    if not losses:
        return None
    rows = [
        [
            "all" if key == "loss" else key,
            f"{loss:.4f}",
            *([f"{before[key]:.4f}" if key in before else None] if before else []),
        ]
        for key, loss in losses.items()
    ]
    return markdown.table(["task", "eval loss", *(["before training"] if before else [])], rows)


def _kept(run: Run) -> str:
    step, steps = run.summary.best_step, run.summary.steps
    return f", at step {step:,} of {steps:,}, the one that was kept" if step and steps else ""


def _leaked(run: Run) -> str:
    """The train records that are of eval incidents, in words."""
    leaked = run.summary.preflight.get("leaked")
    if not isinstance(leaked, dict) or not any(leaked.values()):
        return ""
    records = counted(sum(leaked.values()), "record")
    return f"{records} of eval incidents ({_by_task(leaked)})"


def _lost(run: Run) -> list[tuple[str, str]]:
    """How many conversations did not fit the context, and what became of them."""
    train = run.summary.preflight.get("train")
    counts = train if isinstance(train, dict) else {}
    return [
        (counted(count, "conversation"), what)
        for key, what in _LOST.items()
        if isinstance(count := counts.get(key), int) and count
    ]


def _score_table(run: Run) -> Markup | None:
    """What `score` measured without a judge."""
    scores = run.scores.get("scores")
    if not isinstance(scores, list):
        return None
    measures: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for score in scores:
        measures.setdefault((score["task"], score["metric"]), {})[score["model"]] = score
    models = list(dict.fromkeys(score["model"] for score in scores))
    rows = [
        [task, metric.replace("_", " "), *(_score(by_model.get(model)) for model in models)]
        for (task, metric), by_model in measures.items()
    ]
    return markdown.table(["task", "measure", *models], rows)


def _score(score: Mapping[str, Any] | None) -> str | None:
    if score is None or score.get("value") is None:
        return None
    return f"{score['value']:.3g} ({score['low']:.3g} to {score['high']:.3g})"


def _gguf(run: Run, name: str) -> dict[str, Any] | None:
    """The file that is shown in the examples: the first that is quantised."""
    exported = run.exported.get("files", [])
    file = min(exported, key=lambda file: file["quant"] == SIXTEEN, default=None)
    return file and {
        "file": Markup(file["file"]),
        "quant": Markup(file["quant"].upper()),
        "name": Markup(name.lower()),
        "context": run.exported.get("ollama", {}).get("num_ctx", 4096),
    }


def _quant_table(run: Run) -> Markup | None:
    exported = run.exported.get("files", [])
    if not exported:
        return None
    columns = ["file", "size", "perplexity", "change from f16", "same token as f16"]
    rows = [
        [
            markdown.code(file["file"]),
            size(file["bytes"]),
            f"{file['perplexity']:.6g}" if "perplexity" in file else None,
            f"{file['perplexity_ratio'] - 1:+.2%}" if "perplexity_ratio" in file else None,
            f"{file['greedy_agreement']:.2%}" if "greedy_agreement" in file else None,
        ]
        for file in exported
    ]
    if not run.exported.get("round_trip"):
        columns, rows = columns[:2], [row[:2] for row in rows]
    return markdown.table(columns, rows)


def _quantising(run: Run) -> dict[str, str] | None:
    """On what the cost of quantising was measured, and how the 16-bit model did."""
    measured = run.exported.get("round_trip")
    return measured and {
        "tokens": counted(measured["counted_tokens"], "token"),
        "conversations": counted(measured["conversations"], "conversation"),
        "size": size(measured[SIXTEEN]["bytes"]),
        "perplexity": f"{measured[SIXTEEN]['perplexity']:.6g}",
    }


def _records(run: Run) -> str:
    records = run.summary.records
    if not records:
        return ""
    return f"{counted(sum(records.values()), 'conversation')} ({_by_task(records)})"


def _by_task(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {task}" for task, number in numbers.items())


def _settings(run: Run) -> Markup | None:
    config = run.summary.config
    rows = [
        [title, _value(config[key])]
        for key, title in _SETTINGS.items()
        if config.get(key) is not None
    ]
    return markdown.table(["setting", "value"], rows) if rows else None


def _facts(run: Run) -> list[str]:
    """How the training went, where and with what."""
    summary = run.summary
    facts = [
        summary.steps and counted(summary.steps, "step"),
        summary.train_loss and f"train loss {summary.train_loss:.4f}",
        summary.backend and f"backend {summary.backend}",
        summary.hardware,
        *_versions(run.environment.get("libraries")),
    ]
    return [fact for fact in facts if fact]


def _files(run: Run) -> Markup | None:
    files = [
        [markdown.code(name), markdown.code(file.sha256)]
        for name, file in run.dataset.outputs.items()
        if name.endswith(".jsonl")
    ]
    return markdown.table(["file of the dataset", "sha256"], files) if files else None


def _versions(libraries: object) -> list[str]:
    if not isinstance(libraries, dict):
        return []
    return [f"{name} {version}" for name, version in libraries.items()]


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
