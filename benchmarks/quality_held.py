"""The data of `quality.py`: two source folders and recipes in, plain files out.

Under the output folder:

    emitted/                 both sources as `immune_data.emit` writes them; only preparing needs it
    prepared/RECIPE/         the dataset to train on, and `held.jsonl`: the reference answers with
                             the recipe's own prompts
    prepared/held.json       the incidents that are asked about, and why others are left out;
                             written last, so its presence means that the rest is complete

Preparing needs all of `immune_data`; reading `prepared/` needs neither polars nor DuckDB.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from immune_data import recipes
from immune_data.common import files
from immune_data.common.errors import ImmuneError
from immune_data.contract import chat, incidents, manifest, prompting
from immune_data.contract.incident import Incident
from immune_data.contract.record import Record
from immune_data.recipes import Recipe
from immune_train.data.dataset import read_records

FOLDER, HELD, RECORDS = "prepared", "held.json", "held.jsonl"
SPLITS = ("train.jsonl", "eval.jsonl")

Report = Callable[[str], None]


class HeldIncident(msgspec.Struct, frozen=True):
    """An incident that all recipes ask about. Its group is resampled as a whole."""

    group: str
    event_count: int | None
    evidence: str  # whole, as the source has it


class LeftOut(msgspec.Struct, frozen=True):
    """An incident with reference answers that is left out, because a recipe cannot ask about it."""

    incident_id: str
    recipe: str
    why: str


class DatasetSize(msgspec.Struct, frozen=True):
    """A recipe's dataset: records and tokens to train on, and the tokens that all recipes share.

    `shared_tokens` counts the records that every recipe has on either side, each once.
    """

    records: int
    tokens: int
    shared_tokens: int


class Held(msgspec.Struct, frozen=True):
    """`held.json`."""

    reference: str
    shared_records: int
    recipes: dict[str, DatasetSize]
    incidents: dict[str, HeldIncident]
    left_out: list[LeftOut]


def read(output: Path) -> Held:
    """The prepared data in an output folder.

    Raises:
        ImmuneError: there is none, or another version of immune wrote it.
    """
    path = output / FOLDER / HELD
    try:
        return msgspec.json.decode(path.read_bytes(), type=Held)
    except FileNotFoundError:
        raise ImmuneError(
            f"{output} contains no prepared data (no {path}): name the sources with --train and "
            "--held"
        ) from None
    except (OSError, msgspec.MsgspecError) as error:
        raise ImmuneError(f"{path} cannot be read: {error}; prepare it again") from None


def prepare(
    train: Path,
    held_source: Path,
    names: Sequence[str],
    reference: str,
    output: Path,
    report: Report,
) -> Held:
    """Emit both sources, and write datasets and questions.

    Raises:
        ImmuneError: a source or a recipe cannot be used, or no incident is left to ask about.
    """
    loaded_recipes = [recipes.load(name) for name in names]
    if len({recipe.name for recipe in loaded_recipes}) < len(loaded_recipes):
        raise ImmuneError("two recipes have the same name: rename the file of one")
    folder = output / FOLDER
    (folder / HELD).unlink(missing_ok=True)
    for recipe in loaded_recipes:
        _emit(train, output / "emitted" / "train", recipe, folder / recipe.name, report)
    data = output / "emitted" / "held"
    answers = _references(held_source, data, recipes.load(reference), report)
    _refuse_shared(output / "emitted" / "train", data)
    by_id = {incident.incident_id: incident for incident in _incidents(data)}
    by_id = {key: by_id[key] for key in dict.fromkeys(record.incident_id for record in answers)}
    left_out: list[LeftOut] = []
    records: dict[str, list[Record]] = {}
    for recipe in loaded_recipes:
        report(f"writing questions of {recipe.name}")
        records[recipe.name] = _questions(recipe, answers, by_id, left_out)
    excluded = {item.incident_id for item in left_out}
    questions = {
        key: _held_incident(incident) for key, incident in by_id.items() if key not in excluded
    }
    if not questions:
        raise ImmuneError(
            f"no incident of {held_source} is left: some recipe cannot ask about each of the "
            f"{len(by_id):,} with answers of {reference}"
        )
    for name, of_recipe in records.items():
        _write(
            folder / name / RECORDS,
            (record for record in of_recipe if record.incident_id in questions),
        )
    prepared = Held(
        reference=recipes.load(reference).name,
        incidents=questions,
        left_out=left_out,
        **_dataset_sizes({recipe.name: folder / recipe.name for recipe in loaded_recipes}),
    )
    with files.replacing(folder / HELD) as temporary:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(prepared), indent=1))
    return prepared


def _emit(source: Path, data: Path, recipe: Recipe, target: Path, report: Report) -> None:
    """Emit a source, and copy the dataset with its manifest."""
    from immune_data.emit.__main__ import emit

    # Only this benchmark uses the folder, so data of another source can be replaced.
    emitted = emit(source, data, recipe, replace=True, report=report).folder
    target.mkdir(parents=True, exist_ok=True)
    for name in (*SPLITS, incidents.NAME, manifest.NAME):
        shutil.copyfile(emitted / name, target / name)


def _references(source: Path, data: Path, recipe: Recipe, report: Report) -> list[Record]:
    """The records of both sides: a source that is held out as a whole needs no split."""
    from immune_data.emit.__main__ import emit

    emitted = emit(source, data, recipe, replace=True, report=report).folder
    records = {}
    for path in (emitted / name for name in SPLITS):
        for record in read_records(path) if path.stat().st_size else ():
            records.setdefault((record.incident_id, record.task), record)
    if not records:
        raise ImmuneError(f"{recipe.name} takes no answer of {source}: there is nothing to measure")
    return [records[key] for key in sorted(records)]


def _refuse_shared(train: Path, held_data: Path) -> None:
    """Refuse held-out incidents that, or whose groups, are trained on.

    Raises:
        ImmuneError: there is one.
    """
    import polars as pl

    train_incidents, held_incidents = (
        pl.read_parquet(data / "tables" / "incidents.parquet") for data in (train, held_data)
    )
    for keys in (["incident_id"], ["source_ip", "timewindow"]):
        shared = held_incidents.join(train_incidents, on=keys, how="semi").sort("incident_id")
        if len(shared):
            columns = " and ".join(key.replace("_", " ") for key in keys)
            raise ImmuneError(
                f"{len(shared):,} held-out incidents (first: {shared['incident_id'][0]}) are in "
                f"the source to train on by their {columns}, so the results would be meaningless: "
                "remove them from one of the two"
            )


def _incidents(data: Path) -> list[Incident]:
    """The incidents of an emitted source with the evidence that records show."""
    import polars as pl

    dags = (
        pl.read_parquet(data / "tables" / "dags.parquet")
        .sort("incident_id", "dataset")  # `cause_risk` comes first and is shown
        .unique("incident_id", keep="first", maintain_order=True)
        .select("incident_id", dag_analysis="text")
    )
    rows = pl.read_parquet(data / "tables" / "incidents.parquet").join(dags, on="incident_id")
    return [msgspec.convert(row, Incident) for row in rows.sort("incident_id").to_dicts()]


def _questions(
    recipe: Recipe,
    answers: Iterable[Record],
    incidents_by_id: dict[str, Incident],
    left_out: list[LeftOut],
) -> list[Record]:
    """The reference answers with the prompts that the recipe uses for a deployed model."""
    asking, context = prompting.load(recipe), recipe.records.max_sequence_tokens
    questions, refused = [], set()
    for answer in answers:
        incident = incidents_by_id[answer.incident_id]
        facts, dag = asking.facts(incident.facts), asking.evidence(incident.dag_analysis)
        try:
            shown = asking.shown_by_task(facts, dag, context, [answer.task])[answer.task]
        except ImmuneError as error:
            if incident.incident_id not in refused:
                refused.add(incident.incident_id)
                left_out.append(LeftOut(incident.incident_id, recipe.name, str(error)))
            continue
        messages = [*asking.messages(answer.task, facts, shown.text), answer.messages[-1]]
        questions.append(
            msgspec.structs.replace(
                answer,
                messages=messages,
                dag_truncated=asking.is_cut(dag, shown),
                tokens=chat.measure(messages).total,
            )
        )
    return questions


def _held_incident(incident: Incident) -> HeldIncident:
    window = (incident.source_ip, incident.timewindow)
    group = incident.incident_id if None in window else " ".join(map(str, window))
    return HeldIncident(group, incident.facts["event_count"], incident.dag_analysis)


def _dataset_sizes(folders: dict[str, Path]) -> dict[str, object]:
    """The records of each recipe, and those that all share."""
    by_recipe: dict[str, DatasetSize] = {}
    tokens: dict[str, dict[tuple[str, str], int]] = {}
    for name, folder in folders.items():
        sides = [
            read_records(folder / split) if (folder / split).stat().st_size else []
            for split in SPLITS
        ]
        tokens[name] = {
            (record.incident_id, record.task): record.tokens for side in sides for record in side
        }
        by_recipe[name] = DatasetSize(len(sides[0]), sum(record.tokens for record in sides[0]), 0)
    common = set.intersection(*(set(by_key) for by_key in tokens.values()))
    for name, by_key in tokens.items():
        total = sum(by_key[key] for key in common)
        by_recipe[name] = msgspec.structs.replace(by_recipe[name], shared_tokens=total)
    return {"shared_records": len(common), "recipes": by_recipe}


def _write(path: Path, records: Iterable[Record]) -> None:
    path.write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in records))
