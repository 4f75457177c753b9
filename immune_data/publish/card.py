"""The dataset card: a folder to publish and what is known of its datasets in, `README.md` out.

Every number in it is computed from what is published. The prose is in `card.md.jinja`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

import immune_data
from immune_data.common import duck, markdown, templates
from immune_data.common.text import are
from immune_data.contract import model_terms
from immune_data.prompts import TASKS
from immune_data.publish.datasets import RELATION_CONFIGS, SPLITS, TABLE_CONFIGS, Dataset, Terms

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from immune_data.common.drawing import Drawing

_TAGS = ["security", "intrusion-detection", "slips", "sft", "lora", "llm-as-a-judge", "provenance"]
_SIZES = ["1K", "10K", "100K", "1M", "10M", "100M", "1B"]

_TABLES = {
    "incidents": "one row per incident",
    "dags": "one row per incident and dataset with its evidence",
    "responses": "one row per incident, task and model that answered",
    "judgements": "one row per incident, task, model and judge run",
    "gates": "one row per incident judged on all tasks: its value at every gate",
    "funnel": "one row per step that incidents take from the sources to the records",
}
_KEYS = {
    "messages": "the conversation: `role` and `content` of each turn; the last is the answer",
    "incident_id": "the incident",
    "task": "`summary`, `cause` (an analysis) or `risk` (an assessment)",
    "model": "who wrote the answer",
    "score": "the judge's score of it",
    "dag_truncated": "whether the evidence is shown in part",
    "origin": "`unified`, or `risk_only` for records of the standalone cause and risk dataset",
    "tokens": "the whole conversation under Qwen2.5's chat template",
}
_UNITS = {
    "chars4": "in characters divided by four and rounded down",
    "words": "in words",
    "tokens": "in Qwen2.5's tokens",
}


def render(
    folder: Path,
    datasets: Sequence[Dataset],
    terms: Terms,
    figures: Mapping[str, Sequence[Drawing]],
) -> str:
    """The card of what is in `folder`; `figures` by dataset, which are in it as SVG files."""
    from huggingface_hub import DatasetCardData

    configs = _configs(datasets)
    data = DatasetCardData(
        language=["en"],
        license=terms.license,
        pretty_name=terms.repo_id.partition("/")[2],
        size_categories=[_size(sum(_rows(datasets[0], split) for split in SPLITS.values()))],
        task_categories=["text-generation", "summarization"],
        tags=[*_TAGS, *(["synthetic"] if _synthetic(datasets) else [])],
        configs=[
            {
                "config_name": name,
                **({"default": True} if name == datasets[0].name else {}),
                "data_files": [{"split": split, "path": path} for split, path in files.items()],
            }
            for name, files in configs.items()
        ],
        dataset_info=[_info(folder, name, files) for name, files in configs.items()],
    )
    with duck.connect() as connection:
        runs = _queried(connection, f"from {duck.PARQUET}", _judge_runs(folder))
        described = [
            _described(connection, folder, dataset, terms, figures[dataset.name])
            for dataset in datasets
        ]
    owner, _, name = terms.repo_id.partition("/")
    tables = folder / "tables"
    relations = folder / datasets[0].name / "relations"
    return templates.render_markdown(
        "immune_data.publish",
        "card.md.jinja",
        # For metadata and code: names and numbers without any markup.
        metadata=Markup(data.to_yaml()),
        repo_id=Markup(terms.repo_id),
        key=Markup(name.lower()),
        title=Markup(name),
        owner=Markup(owner),
        license=Markup(terms.license),
        first=Markup(datasets[0].name),
        at=Markup(_at(terms)),
        version=Markup(immune_data.__version__),
        views=Markup(_views(folder, terms, tables, relations)),
        heading=name,
        synthetic=_synthetic(datasets),
        incidents=f"{_num_rows(tables / 'incidents.parquet'):,}",
        models=list(datasets[0].settings["models"]),
        judges=sorted({run["judge"] for run in runs}),
        datasets=described,
        sources=_sources(datasets),
        model_terms=model_terms.table(datasets[0].settings["models"]),
        **_contents(folder, datasets),
    )


def _described(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    dataset: Dataset,
    terms: Terms,
    figures: Sequence[Drawing],
) -> dict[str, Any]:
    """What the card says of one dataset."""
    relations = folder / dataset.name / "relations"
    [settings] = _queried(connection, f"from {duck.PARQUET}", relations / "settings.parquet")
    runs = _queried(
        connection,
        "select judge, provider, precedence, list(task order by task) as tasks, "
        "max(incidents) as incidents "
        f"from {duck.PARQUET} "
        "group by judge_run, judge, provider, precedence order by precedence",
        _judge_runs(folder),
    )
    return {
        "name": Markup(dataset.name),
        "rules": [Markup(rule) for rule in _rules(dataset, runs, settings)],
        "funnel": markdown.table(
            ["step", "incidents", "records", "lost", "why"],
            [
                [row.step, row.incidents, row.records, row.lost or None, row.why]
                for row in dataset.manifest.counts.funnel
            ],
        ),
        "figures": figures,
        **_faults(dataset, terms),
    }


def _configs(datasets: Sequence[Dataset]) -> dict[str, dict[str, str]]:
    """The Parquet file of each split of each config."""
    configs = {
        dataset.name: {split: f"{dataset.name}/{split}.parquet" for split in SPLITS}
        for dataset in datasets
    }
    configs |= {name: {"train": f"tables/{name}.parquet"} for name in TABLE_CONFIGS}
    configs |= {
        relation: {"train": f"{datasets[0].name}/relations/{relation}.parquet"}
        for relation in RELATION_CONFIGS
    }
    return configs


def _info(folder: Path, config: str, files: dict[str, str]) -> dict[str, Any]:
    """A config's features and sizes, as the `datasets` library expects them."""
    import pyarrow.parquet as pq

    splits = []
    for split, path in files.items():
        with pq.ParquetFile(duck.path(folder / path)) as parquet:
            schema = parquet.schema_arrow
            splits.append(
                {
                    "name": split,
                    "num_bytes": sum(batch.nbytes for batch in parquet.iter_batches()),
                    "num_examples": parquet.metadata.num_rows,
                }
            )
    return {
        "config_name": config,
        "features": _features(schema),
        "splits": splits,
        "download_size": sum((folder / path).stat().st_size for path in files.values()),
        "dataset_size": sum(split["num_bytes"] for split in splits),
    }


def _features(fields: pa.Schema | pa.StructType) -> list[dict[str, Any]]:
    """Columns in the card's own notation."""
    return [{"name": field.name, **_feature(field.type)} for field in fields]


def _feature(type_: pa.DataType) -> dict[str, Any]:
    import pyarrow as pa

    if pa.types.is_struct(type_):
        return {"struct": _features(type_)}
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        items = _feature(type_.value_type)
        return {"list": items.get("dtype") or items.get("struct") or items}
    names = {"double": "float64", "bool": "bool"}
    return {"dtype": names.get(str(type_), str(type_))}


def _size(rows: int) -> str:
    """The Hub's size category for a number of rows."""
    for below, bound in zip(["", *_SIZES], _SIZES, strict=False):
        number = int(bound[:-1]) * 1000 ** ("KMB".index(bound[-1]) + 1)
        if rows < number:
            return f"{below}<n<{bound}" if below else f"n<{bound}"
    return f"n>{_SIZES[-1]}"


def _contents(folder: Path, datasets: Sequence[Dataset]) -> dict[str, Markup]:
    """The tables of the card's section on contents."""
    recipes = [
        [
            Markup(f"`{dataset.name}`" + (" (default)" if dataset is datasets[0] else "")),
            *(_rows(dataset, split) for split in SPLITS.values()),
            dataset.settings["description"],
        ]
        for dataset in datasets
    ]
    tables = []
    for config, files in _configs(datasets).items():
        if config in _TABLES:
            rows = _num_rows(folder / files["train"])
            of = f" (of `{datasets[0].name}`)" if config in RELATION_CONFIGS else ""
            tables.append([markdown.code(config), rows, Markup(f"{_TABLES[config]}{of}")])
    records = [
        [markdown.code(dataset.name), split, row.task, row.records, row.tokens]
        for dataset in datasets
        for split, ours in SPLITS.items()
        for row in sorted(
            (row for row in dataset.manifest.counts.tasks if row.split == ours),
            key=lambda row: TASKS.index(row.task),
        )
    ]
    return {
        "recipes": markdown.table(["config", *SPLITS, "what it is"], recipes),
        "tables": markdown.table(["config", "rows", "what it is"], tables),
        "records": markdown.table(["config", "split", "task", "records", "tokens"], records),
        "keys": markdown.table(
            ["key", "what it is"],
            [[markdown.code(key), Markup(what)] for key, what in _KEYS.items()],
        ),
    }


def _rules(dataset: Dataset, runs: Sequence[dict[str, Any]], settings: dict[str, Any]) -> list[str]:
    """The recipe's rules in words, with its own values."""

    def length(key: str) -> str:
        unit = _UNITS[settings[f"{key}_unit"]]
        return f"{settings[f'{key}_min']:,}-{settings[f'{key}_max']:,} ({unit})"

    judged = "; ".join(
        f"{markdown.escaped(run['judge'])} ({markdown.escaped(run['provider'])}) on "
        f"{' and '.join(run['tasks'])}: "
        f"{run['incidents']:,} incidents"
        for run in runs
    )
    # A recipe that fits evidence into the context says how much is shown, the others the limit.
    number = "N" if settings["dag_within_context"] else str(settings["dag_limit"])
    marker = markdown.code(settings["dag_marker"].replace("{limit}", number))
    whose = {
        "any": "It is enough that any model's answer passes, even if it is not the one used",
        "winner": "The answers that are used must pass",
    }[settings["gates_look_at"]]
    combined = {
        "first": "Of several runs that judged an incident, the first one counts.",
        "mean": "An answer's score is the mean over the runs that judged the incident.",
    }[settings["judging_combine"]]
    margin = settings["judging_margin"]
    close = f"it and those less than {margin:g} points behind" if margin else "equals"
    risk = {
        "cause_winner": "The winner on the cause gives the risk answer too.",
        "own": "Cause and risk have a winner each.",
    }[settings["choice_risk"]]
    rules = [
        f"**Judge runs.** {judged}. {combined}",
        "**Pool.** Incidents judged on all three tasks and present in both source datasets.",
        f"**Winner.** The highest score; between {close}, the model that the judge scored first. "
        f"{risk}",
        f"**Gates.** A summary score of at least {settings['summary_score_min']:g}, a cause total "
        f"of at least {settings['cause_total_min']:g}, a risk total of at least "
        f"{settings['risk_total_min']:g}; a summary of {length('summary_length')}, a cause of "
        f"{length('cause_length')}, a risk of {length('risk_length')}"
        + (", a risk answer that names its level" if settings["risk_level_required"] else "")
        + f". {whose}.",
        _split_rule(settings),
        f"**Evidence.** Condensed: every kind of event once, with its severity, its first and last "
        f"time, how many events it stands for, and up to {settings['dag_values']} of the values "
        f"that differ among them, fewer where the conversation would pass "
        f"{settings['max_sequence_tokens']:,} tokens. No event is left out."
        if settings["dag_form"] == "condensed"
        else f"**Evidence.** At most {settings['dag_limit']:,} {settings['dag_unit']}, cut between "
        f"lines and then marked {marker}"
        + (
            f", N being the tokens shown; less where the conversation would pass "
            f"{settings['max_sequence_tokens']:,} tokens, and of a line of more than an eighth of "
            "that the beginning."
            if settings["dag_within_context"]
            else f". Training contexts are taken to be {settings['max_sequence_tokens']:,} tokens."
        ),
    ]
    if settings["answers_cleaned"]:
        rules.append(
            "**Answers** are cleaned by named rules; one that cannot be cleaned is not used, and "
            "the next best one that passes takes its place. Control tokens in texts are "
            "neutralised."
        )
    if settings["dataset"] == "risk" or settings["augmentation"] != "none":
        rules.append(
            "**Standalone risk dataset.** Cause and risk records in the order of the judge's file, "
            f"winners by its combined ranking, causes of {length('standalone_cause_length')} and "
            f"risks of {length('standalone_risk_length')}, "
            + (
                "split like the unified one."
                if settings["split_method"] == "hashed"
                else f"{settings['standalone_eval_share']:.0%} held out with the seed "
                f"{settings['standalone_split_seed']}."
            )
        )
    if settings["dataset"] == "unified" and settings["augmentation"] != "none":
        apart = {
            "not_in_train": "that are not in the unified train split",
            "not_in_splits": "that are in neither unified split, nor of a group of `validation`",
        }[settings["augmentation"]]
        rules.append(
            f"**Augmentation.** Train records of the standalone dataset {apart} are appended."
        )
    if settings["cause_risk_copies"] > 1:
        copies = settings["cause_risk_copies"]
        rules.append(f"**Copies.** Cause and risk train records appear {copies} times.")
    return rules


def _split_rule(settings: dict[str, Any]) -> str:
    share = f"**Split.** {settings['eval_share']:.0%} of the passing incidents are `validation`"
    drawn = f"{share}, drawn with the seed {settings['split_seed']}"
    return {
        "shuffle": f"{drawn}.",
        "groups": f"{drawn}; incidents of one source address and time window, or of one text of "
        "evidence, stay on one side.",
        "hashed": f"{share} on average: those whose source address and time window hash, with the "
        f"key {markdown.code(settings['split_key'])}, into that share of the range, so that "
        "incidents that are added move none out of it. An incident with the evidence of one on "
        "that side is not in `train`.",
    }[settings["split_method"]]


def _faults(dataset: Dataset, terms: Terms) -> dict[str, Any]:
    """The findings of the audit of a dataset."""
    failed = [result for result in dataset.audit if result.failed]
    failed.sort(key=lambda result: ("error", "warn", "info").index(result.check.severity))
    if not failed:
        return {"audited": f"{len(dataset.audit)} checks ran; none found anything.", "faults": None}
    accepted = [result for result in dataset.errors if result.check.name in terms.accepted]
    errors = (
        f"{len(accepted)} of them {are(len(accepted), 'is an error', 'are errors')} that the "
        "publisher accepts."
        if accepted
        else "None of them is an error."
    )
    return {
        "audited": f"{len(dataset.audit)} checks ran; {len(failed)} found something. {errors}",
        "faults": markdown.table(
            ["check", "severity", "rows", "what is wrong with them"],
            [
                [
                    markdown.code(result.check.name),
                    result.check.severity + (" (accepted)" if result in accepted else ""),
                    result.rows,
                    Markup(_sentence(result.check.sentence)),
                ]
                for result in failed
            ],
        ),
    }


def _at(terms: Terms) -> str:
    return f"hf://datasets/{terms.repo_id}"


def _views(folder: Path, terms: Terms, *parts: Path) -> str:
    """SQL for a view of every table and relation, under its name."""
    return "\n".join(
        f"create view \"{path.stem}\" as from '{_at(terms)}/{path.relative_to(folder).as_posix()}';"
        for part in parts
        for path in sorted(part.glob("*.parquet"))
    )


def _sources(datasets: Sequence[Dataset]) -> Markup:
    sources = {
        (name, sha256)
        for dataset in datasets
        for name, sha256 in dataset.manifest.inputs.sources.items()
    }
    rows = [[markdown.code(file), markdown.code(sha256)] for file, sha256 in sorted(sources)]
    return markdown.table(["source file", "sha256"], rows)


def _synthetic(datasets: Sequence[Dataset]) -> bool:
    return any(dataset.manifest.synthetic for dataset in datasets)


def _rows(dataset: Dataset, split: str) -> int:
    tasks = dataset.manifest.counts.tasks
    return sum(row.records for row in tasks if row.split == split)


def _judge_runs(folder: Path) -> Path:
    return folder / "tables" / "judge_runs.parquet"


def _num_rows(parquet: Path) -> int:
    """The number of rows of a file."""
    import pyarrow.parquet as pq

    return pq.read_metadata(duck.path(parquet)).num_rows


def _queried(
    connection: duckdb.DuckDBPyConnection, query: str, parquet: Path
) -> list[dict[str, Any]]:
    """The rows of a query whose parameter is a file."""
    return duck.rows(connection, query, [duck.pattern(parquet)])


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."
