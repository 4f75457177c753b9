"""The model card: a folder to publish and the run's records in, `README.md` out.

Every number in it is on record in the run's folder; what is not on record is not said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import immune_data
from immune_data.common import hub, table
from immune_data.contract import model_terms
from immune_data.prompts import TASKS
from immune_train.artifacts import run as runs
from immune_train.export.quantise import SIXTEEN
from immune_train.export.summary import size
from immune_train.publish.finished_run import Run, Terms

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

_TAGS = ["security", "intrusion-detection", "slips", "lora", "sft", "edge", "trl"]
_SYNTHETIC = (
    "**Trained on synthetic data: a program made up every incident and answer.** It shows that the "
    "way from data to model works, and knows nothing of real incidents."
)
_ASKED = {
    "summary": "summarises the incident's events by what they mean",
    "cause": "analyses what may have caused it, the harmless explanations too",
    "risk": "assesses its risk: level, likelihood, impact, and what to do first",
}
_SETTINGS = {
    "lora_r": "LoRA rank",
    "lora_alpha": "LoRA alpha",
    "lora_dropout": "LoRA dropout",
    "use_rslora": "rank-stabilised (alpha / √r)",
    "lora_target_modules": "adapted modules",
    "max_length": "context, tokens",
    "load_in_4bit": "base weights in 4 bits while training",
    "dtype": "precision of the weights",
    "bf16": "bfloat16 arithmetic",
    "num_train_epochs": "epochs",
    "learning_rate": "learning rate",
    "lr_scheduler_type": "schedule",
    "warmup_steps": "warm-up steps",
    "weight_decay": "weight decay",
    "optim": "optimiser",
    "per_device_train_batch_size": "conversations of a micro-batch",
    "gradient_accumulation_steps": "micro-batches of a step",
    "packing": "conversations packed",
    "order": "order of records",
    "overflow": "conversations over the context",
    "allow_leak": "trained although eval incidents are in train",
    "seed": "seed",
}


def render(folder: Path, run: Run, terms: Terms) -> str:
    """The card of what `folder` holds."""
    from huggingface_hub import ModelCardData

    base, dataset = _base(run), terms.dataset or _dataset(run)
    results = _results(run, dataset)
    data = ModelCardData(
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
        model_name=terms.repo_id.partition("/")[2] if results else None,
        eval_results=results or None,
    )
    sections = [
        _SYNTHETIC if run.synthetic else "",
        _opening(run, terms, base),
        _evaluation(run),
        _scores(run),
        run.evaluation,
        _quants(run),
        _use(folder, run, terms),
        _training(run, dataset),
        _limits(run),
        _licence(run, terms, base, dataset),
        _contents(folder, run),
    ]
    text = "\n\n".join(section for section in sections if section)
    return f"---\n{data.to_yaml()}\n---\n\n{text}\n"


def _base(run: Run) -> str | None:
    """The base model's id on the Hub, if that is where it came from."""
    name = run.summary.base_model or ""
    return name if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not Path(name).exists() else None


def _dataset(run: Run) -> str | None:
    """The dataset's id on the Hub, if that is where it came from."""
    return hub.address(run.summary.dataset).repo_id if run.summary.dataset else None


def _results(run: Run, dataset: str | None) -> list[EvalResult]:
    """The losses and scores as the Hub's own metadata."""
    from huggingface_hub import EvalResult

    where: dict[str, Any] = {
        "task_type": "text-generation",
        "dataset_type": dataset or "immune",
        "dataset_name": f"{run.summary.recipe or 'unknown recipe'}, eval split",
        "dataset_split": "validation",
    }
    found = [
        EvalResult(
            **where,
            metric_type="loss",
            metric_name="loss on the answers" + ("" if task == "loss" else f", task {task}"),
            metric_value=round(value, 4),
        )
        for task, value in _losses(run).items()
    ]
    for file in run.exported.get("files", []):
        if "perplexity" in file:
            found.append(
                EvalResult(
                    **where,
                    metric_type="perplexity",
                    metric_name=f"perplexity on the answers, {file['quant']}",
                    metric_value=file["perplexity"],
                )
            )
    return found


def _losses(run: Run, when: str = "eval") -> dict[str, float]:
    """Eval loss over all conversations and by task, at the step that was kept or before any."""
    found = run.summary.eval if when == "eval" else run.summary.baseline
    losses = {key: found.get(key) for key in ("loss", *TASKS)}
    return {key: loss for key, loss in losses.items() if loss is not None}


def _opening(run: Run, terms: Terms, base: str | None) -> str:
    of = f"[{base}](https://huggingface.co/{base})" if base else "a base model that is not public"
    tasks = "\n".join(f"- **{task}**: {what}" for task, what in _ASKED.items())
    small = ""
    if sizes := [file["bytes"] for file in run.exported.get("files", [])]:
        small = (
            f" Its GGUF files, from {size(min(sizes))} on, are for machines as small as a "
            "Raspberry Pi 5."
        )
    return (
        f"# {terms.repo_id.partition('/')[2]}\n\n"
        "One small language model that reads an incident as the intrusion detection system "
        "[Slips](https://github.com/stratosphereips/StratosphereLinuxIPS) reports it, and does "
        f"three tasks:\n\n{tasks}\n\n"
        f"It is {of}, fine-tuned by one LoRA adapter for all three tasks on answers of larger "
        f"models that judge models scored best, and merged.{small}"
    )


def _evaluation(run: Run) -> str:
    losses = _losses(run)
    if not losses:
        return ""
    before = _losses(run, "baseline")
    columns = ["task", "eval loss", *(["before training"] if before else [])]
    rows: list[list[str | None]] = [
        [
            "all" if key == "loss" else key,
            f"{value:.4f}",
            *([f"{before[key]:.4f}" if key in before else None] if before else []),
        ]
        for key, value in losses.items()
    ]
    step, steps = run.summary.best_step, run.summary.steps
    kept = f", at step {step:,} of {steps:,}, which was kept" if step and steps else ""
    return (
        "## Evaluation\n\n"
        f"Mean loss of an answer's token on the eval split{kept}. These incidents were not "
        f"trained on{_but_leaked(run)}.\n\n" + _table(columns, rows)
    )


def _but_leaked(run: Run) -> str:
    leaked = _preflight(run).get("leaked")
    if isinstance(leaked, dict) and any(leaked.values()):
        return ", **but for those that leaked, see the limits**: the losses are too good"
    return ""


def _preflight(run: Run) -> dict[str, Any]:
    return run.summary.preflight


def _scores(run: Run) -> str:
    """What `score` measured without a judge."""
    found = run.scores.get("scores")
    if not isinstance(found, list):
        return ""
    values: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    models: list[str] = []
    for one in found:
        values.setdefault((one["task"], one["metric"]), {})[one["model"]] = one
        if one["model"] not in models:
            models.append(one["model"])
    rows = [
        [task, metric.replace("_", " "), *(_score(of.get(model)) for model in models)]
        for (task, metric), of in values.items()
    ]
    return (
        "## Scores\n\n"
        "Measured without a judge, by rules, on answers to the eval split, with 95 % intervals; "
        "`reference` are the answers that were learned from. Shares are from 0 to 1.\n\n"
        + _table(["task", "measure", *models], rows)
    )


def _score(one: Mapping[str, Any] | None) -> str | None:
    if one is None or one.get("value") is None:
        return None
    return f"{one['value']:.3g} ({one['low']:.3g} to {one['high']:.3g})"


def _quants(run: Run) -> str:
    listed = run.exported.get("files", [])
    if not listed:
        return ""
    rows = [
        [
            f"`{file['file']}`",
            size(file["bytes"]),
            f"{file['perplexity']:.6g}" if "perplexity" in file else None,
            f"{file['perplexity_ratio'] - 1:+.2%}" if "perplexity_ratio" in file else None,
            f"{file['greedy_agreement']:.2%}" if "greedy_agreement" in file else None,
        ]
        for file in listed
    ]
    columns = ["file", "size", "perplexity", "against f16", "greedy tokens as f16"]
    measured = run.exported.get("round_trip")
    said = "What quantising costs was not measured."
    if measured:
        said = (
            f"Measured by llama.cpp on {measured['counted_tokens']:,} tokens of the answers of "
            f"{measured['conversations']:,} eval conversations, each token predicted from the true "
            f"ones before it. The 16-bit model ({size(measured[SIXTEEN]['bytes'])}) has a "
            f"perplexity of {measured[SIXTEEN]['perplexity']:.6g}."
        )
    else:
        columns, rows = columns[:2], [row[:2] for row in rows]
    matrix = run.exported.get("importance_matrix")
    if matrix:
        said += f" Quantised with an importance matrix of {matrix['chunks']:,} chunks of text."
    return f"## Quantised files\n\n{said}\n\n" + _table(columns, rows)


def _use(folder: Path, run: Run, terms: Terms) -> str:
    name = terms.repo_id.partition("/")[2]
    parts = [
        "## Use it",
        "The prompts are those it was trained with, and another wording costs quality. "
        "The package `immune-sft` builds them from an incident:",
    ]
    listed = run.exported.get("files", [])
    first = min(listed, key=lambda file: file["quant"] == SIXTEEN, default=None)
    if first:
        parts += [
            _console(
                f"hf download {terms.repo_id} {first['file']} --local-dir .",
                f"python -m immune_train.generate --model {first['file']} --task all "
                "--incident incident.json",
            ),
            "**Ollama**, with context, temperature 0 and system message as trained:",
            _console(f"ollama run hf.co/{terms.repo_id}:{first['quant'].upper()}"),
            "or from a download, by the `Modelfile` that lies here: "
            f"`ollama create {name.lower()} -f Modelfile`.",
            "**llama.cpp**:",
            _console(
                f"llama-server -hf {terms.repo_id}:{first['quant'].upper()} "
                f"--ctx-size {run.exported.get('ollama', {}).get('num_ctx', 4096)} --temp 0"
            ),
        ]
    parts += [
        "**transformers**, with `messages` of a record of the dataset without its answer:",
        f"""```python
from transformers import pipeline

ask = pipeline("text-generation", "{terms.repo_id}")
print(ask(messages, do_sample=False, max_new_tokens=700)[0]["generated_text"][-1]["content"])
```""",
    ]
    if base := _base(run):
        parts += [
            "**peft**, the adapter over its base:",
            f"""```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained("{base}")
model = PeftModel.from_pretrained(base, "{terms.repo_id}", subfolder="{runs.ADAPTER}")
```""",
        ]
    return "\n\n".join(parts)


def _training(run: Run, dataset: str | None) -> str:
    recipe = run.summary.recipe
    where = f" of [{dataset}](https://huggingface.co/datasets/{dataset})" if dataset else ""
    parts = ["## How it was trained"]
    records = run.summary.records
    if records:
        count = ", ".join(f"{number:,} {task}" for task, number in records.items())
        parts.append(
            f"On {sum(records.values()):,} conversations ({count})"
            + (f" of the recipe `{recipe}`{where}" if recipe else "")
            + ". The loss was on the answers alone."
        )
    files = {name: of for name, of in run.dataset.outputs.items() if name.endswith(".jsonl")}
    if files:
        parts.append(
            _table(
                ["file trained on", "sha256"],
                [[f"`{name}`", f"`{file.sha256}`"] for name, file in files.items()],
            )
        )
    config = run.summary.config
    if config:
        rows = [
            [title, _value(config[key])]
            for key, title in _SETTINGS.items()
            if config.get(key) is not None
        ]
        parts.append(_table(["setting", "value"], rows))
    facts = [
        f"{run.summary.steps:,} steps" if run.summary.steps else None,
        f"train loss {run.summary.train_loss:.4f}" if run.summary.train_loss else None,
        f"by {run.summary.backend}" if run.summary.backend else None,
        f"on {run.summary.hardware}" if run.summary.hardware else None,
    ]
    if any(facts):
        parts.append(f"As it ran: {', '.join(filter(None, facts))}.")
    libraries = run.environment.get("libraries")
    if isinstance(libraries, dict):
        said = ", ".join(f"{name} {version}" for name, version in libraries.items())
        parts.append(f"With {said}.")
    if (run.folder / f"{runs.CURVES}.svg").is_file():
        parts.append(f"![Losses by step](training/{runs.CURVES}.svg)")
    return "\n\n".join(parts)


def _limits(run: Run) -> str:
    seen = _preflight(run)
    limits = [
        "It is for analysts who look at the evidence too. It must not block, accuse or clear "
        "anyone by itself.",
        "It learned from answers of other language models that a judge model preferred, not from "
        "analysts, and can be wrong the way those are: what it names may not be in the evidence.",
        "It knows incidents as Slips writes them, in English, and no other detector's.",
    ]
    config = run.summary.config
    if config.get("max_length"):
        limits.append(
            f"It was trained with a context of {config['max_length']:,} tokens, answer included; "
            "longer evidence is cut between lines and marked, and what is cut it cannot see."
        )
    leaked = seen.get("leaked")
    if isinstance(leaked, dict) and any(leaked.values()):
        said = ", ".join(f"{value:,} {key}" for key, value in leaked.items())
        limits.append(
            f"**Eval incidents were in train ({said})**, so the figures above are better than on "
            "incidents it never saw."
        )
    train = seen.get("train")
    train = train if isinstance(train, dict) else {}
    for key, what in (
        ("answers_lost", "lost their whole answer to the context, and taught nothing"),
        ("answers_cut", "had their answer cut by the context, and taught it to stop early"),
        ("dropped", "were longer than the context, and left out"),
    ):
        if isinstance(count := train.get(key), int) and count:
            limits.append(f"In training {count:,} conversations {what}.")
    if not _base(run):
        limits.append(
            "Its base model is not on the Hub, so that nobody can check what it was made of."
        )
    return "## Intended use and limits\n\n" + "\n".join(f"- {limit}" for limit in limits)


def _licence(run: Run, terms: Terms, base: str | None, dataset: str | None) -> str:
    parts = [f"## Licence\n\n`{terms.license}`, as its publisher says."]
    if base:
        parts[0] += f" The licence of [{base}](https://huggingface.co/{base}) holds for it too."
    if run.teachers:
        parts[0] += " It learned from answers of models that have licences or terms of their own:"
        rows = [[f"`{name}`", *more] for name, *more in model_terms.rows(run.teachers)]
        parts.append(table.markdown(model_terms.COLUMNS, rows, [False] * len(rows[0])))
    if dataset:
        parts.append(
            "The dataset's [relations.md]"
            f"(https://huggingface.co/datasets/{dataset}/blob/main/relations.md) says what each "
            "column means of the tables that the answers were selected from."
        )
    return "\n\n".join(parts)


def _contents(folder: Path, run: Run) -> str:
    made = run.exported.get("made_by")
    by = ""
    if isinstance(made, dict):
        by = f" GGUF files by {', '.join(f'{name} {version}' for name, version in made.items())}."
    files = (
        "at the top the merged model in 16 bits"
        + (", its GGUF files, a `Modelfile`, and what Ollama is told" if run.exported else "")
        + f"; `{runs.ADAPTER}/` the LoRA adapter; `training/` the run's records as they were "
        "written"
    )
    return (
        f"## What is here\n\nThis repository holds {files}. `manifest.json` is the sha256 of every "
        f"file. Made with `immune-sft` {immune_data.__version__}.{by}"
    )


def _console(*commands: str) -> str:
    return "```console\n" + "\n".join(f"$ {command}" for command in commands) + "\n```"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown, all but its first column to the right."""
    cells = [["" if value is None else str(value) for value in row] for row in rows]
    return table.markdown(columns, cells, [i > 0 for i in range(len(columns))])
