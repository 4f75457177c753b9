"""What `quality.py` trains and measures on: two source folders and recipes in, plain files out.

Under the output folder:

    emitted/                 both sources as `immune_data.emit` writes them; only preparing needs it
    prepared/RECIPE/         the dataset to train on, and `held.jsonl`: the reference answers behind
                             the recipe's own prompts
    prepared/held.json       the incidents that are asked about, and those that are not, and why;
                             written last, so its presence means that the rest is complete

Preparing needs all of `immune_data`; who reads `prepared/` needs neither polars nor DuckDB.
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


class Asked(msgspec.Struct, frozen=True):
    """An incident that all recipes ask about. Its group is resampled whole."""

    group: str
    event_count: int | None
    evidence: str  # whole, as the source has it


class LeftOut(msgspec.Struct, frozen=True):
    """An incident with reference answers that is not asked about, since a recipe cannot ask."""

    incident_id: str
    recipe: str
    why: str


class Trained(msgspec.Struct, frozen=True):
    """A recipe's dataset: records and tokens to train on, and the tokens of what all recipes keep.

    `shared_tokens` are those of the records that every recipe has on either side, each once.
    """

    records: int
    tokens: int
    shared_tokens: int


class Held(msgspec.Struct, frozen=True):
    """`held.json`."""

    reference: str
    shared_records: int
    recipes: dict[str, Trained]
    incidents: dict[str, Asked]
    left_out: list[LeftOut]


def read(output: Path) -> Held:
    """What was prepared in an output folder.

    Raises:
        ImmuneError: nothing was, or by another version of us.
    """
    path = output / FOLDER / HELD
    try:
        return msgspec.json.decode(path.read_bytes(), type=Held)
    except FileNotFoundError:
        raise ImmuneError(
            f"{output} holds nothing prepared (no {path}): name the sources with --train and --held"
        ) from None
    except (OSError, msgspec.MsgspecError) as error:
        raise ImmuneError(f"{path} cannot be read: {error}; prepare it again") from None


def prepare(
    train: Path, held: Path, names: Sequence[str], reference: str, output: Path, report: Report
) -> Held:
    """Emit both sources, and write what is trained on and asked.

    Raises:
        ImmuneError: a source or a recipe cannot be used, or no incident is left to ask about.
    """
    loaded = [recipes.load(name) for name in names]
    if len({recipe.name for recipe in loaded}) < len(loaded):
        raise ImmuneError("two recipes have the same name: rename the file of one")
    folder = output / FOLDER
    (folder / HELD).unlink(missing_ok=True)
    for recipe in loaded:
        _emit(train, output / "emitted" / "train", recipe, folder / recipe.name, report)
    data = output / "emitted" / "held"
    answers = _references(held, data, recipes.load(reference), report)
    _refuse_shared(output / "emitted" / "train", data)
    asked = {incident.incident_id: incident for incident in _incidents(data)}
    asked = {key: asked[key] for key in dict.fromkeys(one.incident_id for one in answers)}
    left_out: list[LeftOut] = []
    records: dict[str, list[Record]] = {}
    for recipe in loaded:
        report(f"asking by {recipe.name}")
        records[recipe.name] = _questions(recipe, answers, asked, left_out)
    out = {one.incident_id for one in left_out}
    kept = {key: _asked(incident) for key, incident in asked.items() if key not in out}
    if not kept:
        raise ImmuneError(
            f"no incident of {held} is left: each of the {len(asked):,} with answers by "
            f"{reference} is one that some recipe cannot ask about"
        )
    for name, of_recipe in records.items():
        _write(folder / name / RECORDS, (one for one in of_recipe if one.incident_id in kept))
    found = Held(
        reference=recipes.load(reference).name,
        incidents=kept,
        left_out=left_out,
        **_trained({recipe.name: folder / recipe.name for recipe in loaded}),
    )
    with files.replacing(folder / HELD) as beside:
        beside.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1))
    return found


def _emit(source: Path, data: Path, recipe: Recipe, to: Path, report: Report) -> None:
    """Emit a source, and copy the dataset with what vouches for it."""
    from immune_data.emit.__main__ import emit

    # The folder is ours alone: what was made of another source has no use in it.
    made = emit(source, data, recipe, replace=True, report=report).folder
    to.mkdir(parents=True, exist_ok=True)
    for name in (*SPLITS, incidents.NAME, manifest.NAME):
        shutil.copyfile(made / name, to / name)


def _references(source: Path, data: Path, recipe: Recipe, report: Report) -> list[Record]:
    """The records of both sides: the recipe's split of a source that is held out whole is moot."""
    from immune_data.emit.__main__ import emit

    made = emit(source, data, recipe, replace=True, report=report).folder
    found = {}
    for path in (made / name for name in SPLITS):
        for record in read_records(path) if path.stat().st_size else ():
            found.setdefault((record.incident_id, record.task), record)
    if not found:
        raise ImmuneError(f"{recipe.name} takes no answer of {source}: there is nothing to measure")
    return [found[key] for key in sorted(found)]


def _refuse_shared(train: Path, held: Path) -> None:
    """Refuse a held-out incident that is trained on, or one of its group.

    Raises:
        ImmuneError: there is one.
    """
    import polars as pl

    trained, asked = (
        pl.read_parquet(data / "tables" / "incidents.parquet") for data in (train, held)
    )
    for keys in (["incident_id"], ["source_ip", "timewindow"]):
        shared = asked.join(trained, on=keys, how="semi").sort("incident_id")
        if len(shared):
            said = " and ".join(key.replace("_", " ") for key in keys)
            raise ImmuneError(
                f"{len(shared):,} held-out incidents (first: {shared['incident_id'][0]}) are in "
                f"the source to train on by their {said}, so what is measured would be worth "
                "nothing: take them out of one of both"
            )


def _incidents(data: Path) -> list[Incident]:
    """The incidents of an emitted source with the evidence that records show of them."""
    import polars as pl

    dags = (
        pl.read_parquet(data / "tables" / "dags.parquet")
        .sort("incident_id", "dataset")  # `cause_risk` comes first, and is the one that is shown
        .unique("incident_id", keep="first", maintain_order=True)
        .select("incident_id", dag_analysis="text")
    )
    rows = pl.read_parquet(data / "tables" / "incidents.parquet").join(dags, on="incident_id")
    return [msgspec.convert(row, Incident) for row in rows.sort("incident_id").to_dicts()]


def _questions(
    recipe: Recipe,
    answers: Iterable[Record],
    asked: dict[str, Incident],
    left_out: list[LeftOut],
) -> list[Record]:
    """The reference answers behind the prompts with which the recipe asks a deployed model."""
    asking, context = prompting.load(recipe), recipe.records.max_sequence_tokens
    found, refused = [], set()
    for answer in answers:
        incident = asked[answer.incident_id]
        facts, dag = asking.facts(incident.facts), asking.evidence(incident.dag_analysis)
        try:
            shown = asking.shown_by_task(facts, dag, context, [answer.task])[answer.task]
        except ImmuneError as error:
            if incident.incident_id not in refused:
                refused.add(incident.incident_id)
                left_out.append(LeftOut(incident.incident_id, recipe.name, str(error)))
            continue
        messages = [*asking.messages(answer.task, facts, shown.text), answer.messages[-1]]
        found.append(
            msgspec.structs.replace(
                answer,
                messages=messages,
                dag_truncated=asking.is_cut(dag, shown),
                tokens=chat.measure(messages).total,
            )
        )
    return found


def _asked(incident: Incident) -> Asked:
    window = (incident.source_ip, incident.timewindow)
    group = incident.incident_id if None in window else " ".join(map(str, window))
    return Asked(group, incident.facts["event_count"], incident.dag_analysis)


def _trained(folders: dict[str, Path]) -> dict[str, object]:
    """What each recipe trains on, and what they all keep."""
    of_recipe: dict[str, Trained] = {}
    tokens: dict[str, dict[tuple[str, str], int]] = {}
    for name, folder in folders.items():
        sides = [
            read_records(folder / split) if (folder / split).stat().st_size else []
            for split in SPLITS
        ]
        tokens[name] = {(one.incident_id, one.task): one.tokens for side in sides for one in side}
        of_recipe[name] = Trained(len(sides[0]), sum(one.tokens for one in sides[0]), 0)
    shared = set.intersection(*(set(of) for of in tokens.values()))
    for name, of in tokens.items():
        total = sum(of[key] for key in shared)
        of_recipe[name] = msgspec.structs.replace(of_recipe[name], shared_tokens=total)
    return {"shared_records": len(shared), "recipes": of_recipe}


def _write(path: Path, records: Iterable[Record]) -> None:
    path.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in records))
