"""Names of other libraries that are nobody's promise, and what of ours rests on each.

A release may take them away without a word. This is where one learns of it, in a sentence.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Name:
    """A name, where its library keeps it (module and path), and what we do with it."""

    module: str
    path: str
    use: str

    def __str__(self) -> str:
        return f"{self.module}:{self.path}"


NAMES = [
    Name("argparse", "ArgumentParser._get_positional_actions", "cli.Parser mixes arguments by it"),
    Name("huggingface_hub.utils._http", "default_client_factory", "hub.upload's client is of it"),
    Name("huggingface_hub.file_download", "repo_folder_name", "hub.revisions finds its cache"),
    Name(
        "huggingface_hub.file_download",
        "_cache_commit_hash_for_specific_revision",
        "hub.revisions lets the cache know a commit by it",
    ),
    Name("torch", "ops.aten._flash_attention_forward", "backends.attention calls it"),
    Name("torch", "ops.aten._flash_attention_backward", "backends.attention calls it"),
    Name("transformers.masking_utils", "sdpa_mask", "backends.attention leaves padding to it"),
    Name(
        "transformers.integrations.sdpa_attention",
        "sdpa_attention_forward",
        "backends.attention leaves padded rows to it",
    ),
    Name("transformers", "Trainer._get_train_sampler", "sft.trainer sets the order by it"),
    Name("transformers", "Trainer._save_checkpoint", "sft.trainer refuses what is not finite"),
    Name(
        "transformers", "Trainer._save", "sft.trainer leaves the tokenizer out of checkpoints by it"
    ),
    Name("transformers", "Trainer._prepare_inputs", "sft.trainer evaluates by it"),
    Name("transformers", "Trainer.compute_loss_context_manager", "sft.trainer evaluates by it"),
    Name("transformers", "TrainerState.stateful_callbacks", "sft.trainer keeps the loss there"),
    Name("trl", "SFTTrainer._send_telemetry", "sft.trainer tells nobody of a run by it"),
    Name("unsloth.utils.attention_dispatch", "_TORCH_VARLEN_ATTN", "backends.unsloth sets it"),
]

# What a library's own code must hold, as text: names that are not to be had without a model.
IN_CODE = [
    Name("argparse", "_ActionsContainer.__init__ _actions", "configs knows TRL's settings by it"),
    Name("trl", "SFTTrainer.compute_loss fused_lm_head", "sft.trainer asks for the loss by it"),
    Name("trl", "SFTTrainer.compute_loss log_probs", "sft.trainer sums them"),
    Name("trl", "SFTTrainer.compute_loss label_mask", "sft.trainer counts tokens by it"),
    Name("transformers", "Trainer.__init__ model_accepts_loss_kwargs", "sft.trainer sets it"),
]

# Private by their underscore, and promised all the same.
_PROMISED = {"_exit", "_replace", "_asdict", "_fields"}


_GONE = object()


def held(module: str, path: str) -> Any:
    """What a library holds under a path, or `_GONE`. Skips where it is not installed."""
    library = module.partition(".")[0]
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError:
        return _GONE
    for part in path.split("."):
        found = getattr(found, part, _GONE)
    return found


@pytest.mark.parametrize("name", NAMES, ids=str)
def test_a_private_name_is_still_there(name: Name) -> None:
    assert held(name.module, name.path) is not _GONE, (
        f"{name.module} has no {name.path} any more, and {name.use}: "
        "find what its releases have in its place"
    )


@pytest.mark.parametrize("name", IN_CODE, ids=str)
def test_what_a_private_name_does_is_still_in_the_code(name: Name) -> None:
    path, word = name.path.split()
    of = held(name.module, path)
    assert of is not _GONE, f"{name.module} has no {path} any more, and {name.use} there: {word}"
    assert word in inspect.getsource(of), (
        f"{name.module}'s {path} does not speak of {word} any more, and {name.use}: "
        "find what its releases have in its place"
    )


def test_no_other_private_name_is_used() -> None:
    listed = {part for name in [*NAMES, *IN_CODE] for part in re.split(r"[. :]", str(name))}
    files = [
        path
        for package in ("immune_data", "immune_train")
        for path in sorted((ROOT / package).rglob("*.py"))
    ]
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in files}
    nodes = [(path, node) for path, tree in trees.items() for node in ast.walk(tree)]
    ours = {
        getattr(node, "name", None) or getattr(node, "id", None) or getattr(node, "attr", None)
        for _, node in nodes
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        or (isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store))
    }
    for path, node in nodes:
        used: list[str] = []
        if isinstance(node, ast.Attribute):
            used = [node.attr]
        elif isinstance(node, ast.ImportFrom) and not str(node.module).startswith("immune_"):
            used = [*str(node.module).split("."), *(alias.name for alias in node.names)]
        for name in used:
            if name.startswith("_") and not name.startswith("__") and name not in ours | _PROMISED:
                assert name in listed, f"{path}, line {node.lineno}: {name} belongs into this list"
