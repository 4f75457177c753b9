"""Make what an edge machine needs: a merged model in; GGUF files, `Modelfile`, `export.json` out.

`export.json` says what was made of what and is written last. The same model gives the same bytes.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from immune_data.common import files, jsonfile, processes
from immune_data.common.digests import sha256
from immune_data.common.errors import ImmuneError
from immune_train.artifacts import run
from immune_train.export.quantise import DEFAULT, SIXTEEN

if TYPE_CHECKING:
    from immune_train.artifacts.provenance import TrainedOn
    from immune_train.export.gguf_file import Model
    from immune_train.export.quantise import Importance
    from immune_train.export.roundtrip import Reading

SCHEMA_VERSION = 1
RECORD, MODELFILE = "export.json", "Modelfile"

CONTEXT, CONVERSATIONS = 4096, 24

Report = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What to write besides the defaults."""

    quants: Sequence[str] = DEFAULT
    f16: bool = False
    imatrix: Path | None = None
    eval: Path | None = None
    conversations: int = CONVERSATIONS
    context: int | None = None
    name: str | None = None
    threads: int | None = None


def export(
    folder: Path, output: Path | None, wanted: Wanted, report: Report
) -> tuple[Path, dict[str, Any]]:
    """Write the files; where they are, and the content of `export.json`.

    Raises:
        ImmuneError: the model cannot be converted, or something that was asked for not be done.
    """
    from immune_train.artifacts import provenance
    from immune_train.export import gguf_file, modelfile, quantise, roundtrip

    _require()
    folder, trained = _find(folder)
    name = wanted.name or (trained or folder.resolve()).name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ImmuneError(f"{name} cannot name files: give letters, digits, . _ - with --name")
    quants = [quant for quant in dict.fromkeys(wanted.quants) if quant != SIXTEEN]
    keep = wanted.f16 or SIXTEEN in wanted.quants
    model = gguf_file.read(folder)
    quantise.check_rows(model.tensors, quants)
    reach = model.config["max_position_embeddings"]
    if (wanted.context or 0) > reach:
        raise ImmuneError(
            f"{folder} knows positions up to {reach:,}, and a context of {wanted.context:,} tokens "
            "goes beyond them: lower --context"
        )
    settings = modelfile.Settings(
        wanted.context or _trained_context(trained) or CONTEXT,
        modelfile.default_system(model.template),
    )
    dataset = provenance.of_manifest(trained / run.DATASET) if trained is not None else None
    importance = None
    if wanted.imatrix is not None:
        importance = quantise.read_importance(wanted.imatrix, model.tensors)
    chosen = None
    if wanted.eval is not None:
        chosen = roundtrip.conversations(wanted.eval, wanted.conversations)
    threads = wanted.threads or processes.processors()
    output = output or folder.resolve().parent / run.GGUF

    readings: dict[str, Reading] = {}
    made: dict[str, Path] = {}
    with files.locked(output), files.staging(output) as hidden:
        report(f"converting {folder}")
        sixteen = hidden / f"{name}-{SIXTEEN}.gguf"
        gguf_file.convert(model, name, sixteen, dataset)
        if keep:
            made[SIXTEEN] = sixteen
        if chosen is not None:
            readings[SIXTEEN] = roundtrip.read(sixteen, chosen, threads, report)
        for quant in quants:
            report(f"quantising to {quant}")
            made[quant] = hidden / f"{name}-{quant}.gguf"
            quantise.quantise(sixteen, made[quant], quant, importance, threads)
            if chosen is not None:
                readings[quant] = roundtrip.read(made[quant], chosen, threads, report)
        report("hashing")
        content = _content(name, model, settings, dataset, importance, made, readings)
        if chosen is not None and wanted.eval is not None:
            content["round_trip"] = _round_trip(wanted.eval, len(chosen), sixteen, readings)
        names = [file.name for file in made.values()]
        first = made[quants[0] if quants else SIXTEEN].name
        others = [other for other in names if other != first]
        text = modelfile.render(name, first, others, settings)
        (hidden / MODELFILE).write_text(text, encoding="utf-8")
        jsonfile.write(hidden / RECORD, content)
        (output / RECORD).unlink(missing_ok=True)  # it says that what lies beside it is whole
        for staged in [*made.values(), hidden / MODELFILE, hidden / RECORD]:
            files.move(staged, output / staged.name)
    return output, content


def is_of(output: Path, merged: Path, quants: Sequence[str]) -> bool:
    """Whether the files in `output` are whole, of these types, and of the model in `merged`."""
    try:
        content = json.loads((output / RECORD).read_text(encoding="utf-8"))
        if content["schema_version"] != SCHEMA_VERSION:
            return False
        made_of = {merged / name: value for name, value in content["made_of"].items()}
        exported = {output / file["file"]: file["sha256"] for file in content["files"]}
        return {file["quant"] for file in content["files"]} >= set(quants) and all(
            sha256(path) == value for path, value in (made_of | exported).items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _require() -> None:
    """Say now, and in words, what would otherwise fail later."""
    for module, package in (("gguf", "gguf"), ("llama_cpp", "llama-cpp-python")):
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ImmuneError(
                f"{package} cannot be loaded ({error}): in a checkout of immune, "
                "pip install '.[edge]'"
            ) from None


def _find(folder: Path) -> tuple[Path, Path | None]:
    """The merged model's folder, and the run's folder that it lies in, if it does."""
    if not (folder / "config.json").is_file() and (folder / run.MERGED).is_dir():
        folder = folder / run.MERGED
    around = folder.resolve().parent
    is_run = (around / run.CONFIG).is_file() and (around / run.ADAPTER).is_dir()
    return folder, around if is_run else None


def _trained_context(folder: Path | None) -> int | None:
    """The most tokens of a conversation that the model of a run was trained on."""
    if folder is None:
        return None
    try:
        length = yaml.safe_load((folder / run.CONFIG).read_text(encoding="utf-8"))["max_length"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None
    return length if isinstance(length, int) and length > 0 else None


def _content(
    name: str,
    model: Model,
    settings: Any,
    dataset: TrainedOn | None,
    importance: Importance | None,
    made: dict[str, Path],
    readings: dict[str, Reading],
) -> dict[str, Any]:
    from importlib.metadata import version

    return {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "made_of": {path.name: sha256(path) for path in model.files()},
        "made_by": {package: version(package) for package in ("gguf", "llama-cpp-python")},
        "trained_on": None if dataset is None else asdict(dataset),
        "importance_matrix": None
        if importance is None
        else {"file": importance.file, "sha256": importance.sha256, "chunks": importance.chunks},
        "ollama": {**settings.parameters(), "system": settings.system},
        "round_trip": None,
        "files": [
            {
                "file": path.name,
                "quant": quant,
                "bytes": path.stat().st_size,
                "sha256": sha256(path),
                **_measured(quant, readings),
            }
            for quant, path in made.items()
        ],
    }


def _measured(quant: str, readings: dict[str, Reading]) -> dict[str, float]:
    if quant not in readings:
        return {}
    found, reference = readings[quant], readings[SIXTEEN]
    return {
        "perplexity": float(f"{found.perplexity:.6g}"),
        "perplexity_ratio": round(found.perplexity / reference.perplexity, 5),
        "greedy_agreement": round(found.agreement(reference), 5),
    }


def _round_trip(
    path: Path, conversations: int, sixteen: Path, readings: dict[str, Reading]
) -> dict[str, Any]:
    return {
        "eval": path.name,
        "eval_sha256": sha256(path),
        "conversations": conversations,
        "counted_tokens": len(readings[SIXTEEN].greedy),
        "counted": "the tokens of the answers, each with its <|im_end|>",
        SIXTEEN: {
            "bytes": sixteen.stat().st_size,
            "perplexity": float(f"{readings[SIXTEEN].perplexity:.6g}"),
        },
    }
