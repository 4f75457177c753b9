"""Make the files for small machines: a merged model in; GGUF files, `Modelfile`, `export.json` out.

`export.json` records what they were made from and is written last. The same model gives the same
bytes.
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
class Options:
    """What to export, and how."""

    quants: Sequence[str] = DEFAULT
    f16: bool = False
    imatrix: Path | None = None
    eval: Path | None = None
    conversations: int = CONVERSATIONS
    context: int | None = None
    name: str | None = None
    threads: int | None = None


def export(
    folder: Path, output: Path | None, options: Options, report: Report
) -> tuple[Path, dict[str, Any]]:
    """Write the files; their folder and the content of `export.json` out.

    Raises:
        ImmuneError: the model cannot be converted, or not with these options.
    """
    from immune_train.artifacts import provenance
    from immune_train.export import gguf_file, modelfile, quantise, roundtrip

    _require()
    folder, run_folder = _find(folder)
    name = options.name or (run_folder or folder.resolve()).name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ImmuneError(f"{name} is not a valid file name: use letters, digits, . _ - in --name")
    quants = [quant for quant in dict.fromkeys(options.quants) if quant != SIXTEEN]
    keep = options.f16 or SIXTEEN in options.quants
    model = gguf_file.read(folder)
    quantise.check_rows(model.tensors, quants)
    reach = model.config["max_position_embeddings"]
    if (options.context or 0) > reach:
        raise ImmuneError(
            f"{folder} supports positions up to {reach:,}, and a context of {options.context:,} "
            "tokens exceeds them: lower --context"
        )
    settings = modelfile.Settings(
        options.context or _trained_context(run_folder) or CONTEXT,
        modelfile.default_system(model.template),
    )
    dataset = provenance.of_manifest(run_folder / run.DATASET) if run_folder is not None else None
    importance = None
    if options.imatrix is not None:
        importance = quantise.read_importance(options.imatrix, model.tensors)
    sample = None
    if options.eval is not None:
        sample = roundtrip.conversations(options.eval, options.conversations)
    threads = options.threads or processes.processors()
    output = output or folder.resolve().parent / run.GGUF

    readings: dict[str, Reading] = {}
    paths: dict[str, Path] = {}
    with files.locked(output), files.staging(output) as hidden:
        report(f"converting {folder}")
        sixteen = hidden / f"{name}-{SIXTEEN}.gguf"
        gguf_file.convert(model, name, sixteen, dataset)
        if keep:
            paths[SIXTEEN] = sixteen
        if sample is not None:
            readings[SIXTEEN] = roundtrip.read(sixteen, sample, threads, report)
        for quant in quants:
            report(f"quantising to {quant}")
            paths[quant] = hidden / f"{name}-{quant}.gguf"
            quantise.quantise(sixteen, paths[quant], quant, importance, threads)
            if sample is not None:
                readings[quant] = roundtrip.read(paths[quant], sample, threads, report)
        report("hashing")
        content = _content(name, model, settings, dataset, importance, paths, readings)
        if sample is not None and options.eval is not None:
            content["round_trip"] = _round_trip(options.eval, len(sample), sixteen, readings)
        names = [file.name for file in paths.values()]
        main_file = paths[quants[0] if quants else SIXTEEN].name
        other_files = [file for file in names if file != main_file]
        text = modelfile.render(name, main_file, other_files, settings)
        (hidden / MODELFILE).write_text(text, encoding="utf-8")
        jsonfile.write(hidden / RECORD, content)
        (output / RECORD).unlink(
            missing_ok=True
        )  # its presence says that the files next to it are complete
        for path in [*paths.values(), hidden / MODELFILE, hidden / RECORD]:
            files.move(path, output / path.name)
    return output, content


def is_current(output: Path, merged: Path, quants: Sequence[str]) -> bool:
    """Whether the files in `output` are complete, of these types, and made from `merged`."""
    try:
        content = json.loads((output / RECORD).read_text(encoding="utf-8"))
        if content["schema_version"] != SCHEMA_VERSION:
            return False
        made_of = {merged / name: value for name, value in content["made_of"].items()}
        outputs = {output / file["file"]: file["sha256"] for file in content["files"]}
        return {file["quant"] for file in content["files"]} >= set(quants) and all(
            sha256(path) == value for path, value in (made_of | outputs).items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _require() -> None:
    """Check for the libraries that would otherwise be missing later."""
    for module, package in (("gguf", "gguf"), ("llama_cpp", "llama-cpp-python")):
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ImmuneError(
                f"{package} cannot be loaded ({error}): in a checkout of immune, "
                "pip install '.[edge]'"
            ) from None


def _find(folder: Path) -> tuple[Path, Path | None]:
    """The merged model's folder, and the folder of its run, if it is in one."""
    if not (folder / "config.json").is_file() and (folder / run.MERGED).is_dir():
        folder = folder / run.MERGED
    parent = folder.resolve().parent
    is_run = (parent / run.CONFIG).is_file() and (parent / run.ADAPTER).is_dir()
    return folder, parent if is_run else None


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
    paths: dict[str, Path],
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
            for quant, path in paths.items()
        ],
    }


def _measured(quant: str, readings: dict[str, Reading]) -> dict[str, float]:
    if quant not in readings:
        return {}
    reading, reference = readings[quant], readings[SIXTEEN]
    return {
        "perplexity": float(f"{reading.perplexity:.6g}"),
        "perplexity_ratio": round(reading.perplexity / reference.perplexity, 5),
        "greedy_agreement": round(reading.agreement(reference), 5),
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
