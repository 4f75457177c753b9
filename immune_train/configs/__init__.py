"""A run's settings: YAML and `key=value` overrides in, values with their origins out.

Keys are those of TRL's `SFTConfig` and `ModelConfig`, and our few in `RunArguments`; TRL's own
parser reads them. A file may extend another of this folder, as `extends: unified-v2` says.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import yaml

from immune_data.common.errors import ImmuneError
from immune_data.common.text import suggestion

if TYPE_CHECKING:
    from trl import SFTConfig, TrlParser

FOLDER = Path(__file__).parent

# What every run has unless its file says otherwise; each name is TRL's or transformers' own.
_OURS = {
    "eval_strategy": "steps",
    "save_strategy": "steps",
    "save_total_limit": 2,
    "load_best_model_at_end": True,
    "metric_for_best_model": "eval_loss",
    "greater_is_better": False,
    "report_to": "none",
}
# What no run can have otherwise: the trainer is handed rows that it must not change, and logs
# losses as they are. Settings that are refused are in `refused`.
DECIDED: dict[str, Any] = {
    "remove_unused_columns": False,
    "dataset_kwargs": {"skip_prepare_dataset": True},
    "logging_nan_inf_filter": False,
    "use_peft": True,
    "enable_jit_checkpoint": True,  # every run saves when it is interrupted
}


@dataclass
class RunArguments:
    """What neither TRL nor transformers has a setting for."""

    name: str | None = field(
        default=None, metadata={"help": "the run's name (default: the config's)"}
    )
    data: str = field(default="data", metadata={"help": "folder of the artifacts"})
    dataset: str | None = field(
        default=None, metadata={"help": "the dataset, if it is not the recipe's in that folder"}
    )
    train: str | None = field(default=None, metadata={"help": "JSONL to train on, with eval"})
    eval: str | None = field(default=None, metadata={"help": "JSONL to measure on, with train"})
    recipe: str = field(
        default="unified-clean", metadata={"help": "the dataset's recipe, or the config on the Hub"}
    )
    backend: str = field(
        default="auto",
        metadata={
            "help": "unsloth, trl, or auto: unsloth where it and CUDA are there",
            "choices": ["auto", "unsloth", "trl"],
        },
    )
    overflow: str = field(
        default="error",
        metadata={
            "help": "a conversation longer than max_length is an error, is dropped, or truncated",
            "choices": ["error", "drop", "truncate"],
        },
    )
    allow_leak: bool = field(
        default=False, metadata={"help": "train although eval incidents are in train"}
    )
    order: str = field(
        default="shuffled",
        metadata={
            "help": "the trainer's own shuffle by seed, or the order of the file",
            "choices": ["shuffled", "emitted"],
        },
    )
    records_train: int | None = field(
        default=None, metadata={"help": "train on this many of the shortest records only"}
    )
    records_eval: int | None = field(
        default=None, metadata={"help": "measure on this many of the shortest records only"}
    )
    merge: bool = field(
        default=True, metadata={"help": "write base and adapter as one 16-bit model at the end"}
    )
    gguf: list[str] = field(
        default_factory=list, metadata={"help": "quantisations to write at the end: q4_k_m, …"}
    )


@dataclass(frozen=True)
class Config:
    """A run's settings by key, and where each one's value came from."""

    name: str
    values: dict[str, Any]
    origins: dict[str, str]

    def __getattr__(self, key: str) -> Any:
        try:
            return self.values[key]
        except KeyError:
            raise AttributeError(key) from None

    @property
    def step(self) -> int:
        """Conversations of an optimiser step, on one device."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps

    @property
    def capacity(self) -> int:
        """The most tokens of a packed micro-batch: what the longest conversations need unpacked."""
        return self.max_length * self.per_device_train_batch_size

    def warnings(self) -> list[str]:
        found = []
        if not self.use_rslora and self.lora_r >= 64:
            found.append(
                f"RSLoRA is off at r = {self.lora_r}: LoRA's own scale, alpha / r, makes a high "
                "rank learn little; set use_rslora=true"
            )
        return found

    def trainer_arguments(self, output: Path, **changes: Any) -> SFTConfig:
        """The `SFTConfig` of a run that writes its checkpoints to `output`.

        With packing the trainer's batch is all conversations of a step, which the collator packs.

        Raises:
            ImmuneError: the settings contradict each other, or want hardware that is not there.
        """
        import torch

        arguments = _sft_config()
        names = [name for name in _names(arguments) if name in self.values]
        values = {name: deepcopy(self.values[name]) for name in names}  # TRL changes some in place
        values |= {"max_length": None, "packing": False, "output_dir": str(output), **changes}
        if "enable_jit_checkpoint" in values:
            values["enable_jit_checkpoint"] = False  # its handler of SIGTERM would go before ours
        if self.data_seed is None:
            values["data_seed"] = self.seed
        if self.load_best_model_at_end and self.save_total_limit == 1:
            values["save_total_limit"] = 2  # the best one, and the last, to resume from
        values["dataloader_pin_memory"] &= torch.cuda.is_available()
        values["use_cpu"] = not torch.cuda.is_available()  # or processes would not know each other
        if self.packing:
            values["per_device_train_batch_size"] = self.step
            values["gradient_accumulation_steps"] = 1
        try:
            return arguments(**values)
        except (ValueError, ImportError, RuntimeError) as error:
            said = str(error).splitlines()[0]
            raise ImmuneError(
                f"config {self.name} cannot be used here: {said} (--config tiny trains on a CPU)"
            ) from None

    def in_force(self) -> dict[str, Any]:
        """The settings as a trainer has them on this machine: what it resolves, resolved.

        What it is handed otherwise than it is set, because rows come ready made, stays as set.
        """
        had = self.trainer_arguments(Path("unused")).to_dict()
        layout = ("per_device_train_batch_size", "gradient_accumulation_steps")
        ours = {"max_length", "packing", "output_dir", "eval_on_start", *layout}
        ours |= {"enable_jit_checkpoint", "disable_tqdm"}  # of which ours come in place
        return {
            key: had[key] if key in had and key not in ours else value
            for key, value in self.values.items()
        }

    def text(self) -> str:
        """The settings as YAML that can be trained from again, each with its origin."""
        given = [key for key in self.values if self.origins[key] != _DEFAULT]
        rest = [key for key in self.values if self.origins[key] == _DEFAULT]
        lines = [f"# The settings of a run of config {self.name}, and where each came from.", ""]
        for key in (*given, *rest):
            value = self.values[key]
            if value is None or key in ("output_dir", "logging_dir"):
                continue
            said = yaml.dump(
                value, Dumper=_Dumper, default_flow_style=True, width=10_000, allow_unicode=True
            )
            said = said.removesuffix("\n").removesuffix("\n...")
            lines.append(f"{key}: {said}  # {self.origins[key]}")
        return "\n".join(lines) + "\n"


_DEFAULT = "default"


def shipped() -> list[str]:
    """The names of the configs that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(name: str, overrides: Sequence[str] = ()) -> Config:
    """The config of a shipped name or a YAML file, with `key=value` overrides on top.

    Raises:
        ImmuneError: it cannot be found or read, or a key or value is none.
    """
    given, origins = read(name)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ImmuneError(f"{override} is not a setting: write key=value")
        given[key], origins[key] = _yaml(text, f"the setting {override}"), "command line"
    for key, value in (_OURS | DECIDED).items():
        if key not in given:
            given[key], origins[key] = value, "immune_train"
    parser = _parser()
    known = {action.dest: action for action in parser._actions}
    for key, value in given.items():
        if key not in known:
            raise ImmuneError(_unknown(key, origins[key], known))
        if value is False and "no" in (known[key].choices or ()):
            given[key] = "no"  # which is false to YAML
        if key.endswith("_kwargs") and value is not None and not isinstance(value, dict):
            raise ImmuneError(f"{key} ({origins[key]}) is a mapping: write {key}={{name: value}}")
        if isinstance(value, list) and known[key].nargs != "+":
            raise ImmuneError(f"{key} ({origins[key]}) has one value, not a list of them")
    arguments = ["--output_dir", "unused"] if "output_dir" not in given else []
    for key, value in given.items():
        if value not in (None, []):  # an argument parser knows of neither
            if isinstance(value, list):
                arguments += [f"--{key}", *map(_text, value)]
            else:
                arguments.append(f"--{key}={_text(value)}")
    values = vars(parser.parse_args(arguments))
    values["output_dir"] = given.get("output_dir")
    for key, value in given.items():
        if value == [] or isinstance(value, dict):  # of which the parser makes text
            values[key] = value
        elif value is None and values[key] is not None:
            raise ImmuneError(f"{key} ({origins[key]}) has no value: give one, or leave it out")
    values = {key: values[key] for key in (*given, *(key for key in values if key not in given))}
    if "eval_on_start" not in given:  # so that every run that measures has its baseline
        values["eval_on_start"] = _plain(values["eval_strategy"]) != "no"
        origins["eval_on_start"] = "immune_train"
    values["name"] = values["name"] or Path(name).stem
    for key in values:
        origins.setdefault(key, _DEFAULT)
    _check(values)
    return Config(values["name"], {key: _plain(value) for key, value in values.items()}, origins)


def defaults() -> dict[str, Any]:
    """The value of each setting that is given nowhere."""
    values = vars(_parser().parse_args(["--output_dir", "unused"])) | {"output_dir": None}
    return {key: _plain(value) for key, value in values.items()}


def read(name: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The keys of a file and of those it extends, and which file each came from.

    Raises:
        ImmuneError: there is no such config, or it is not a YAML mapping.
    """
    given: dict[str, Any] = {}
    origins: dict[str, str] = {}
    seen: list[Path] = []
    path: Path | None = _find(name)
    while path is not None:
        if path.resolve() in seen:
            raise ImmuneError(f"{path} extends itself: name another config to extend")
        seen.append(path.resolve())
        try:
            content = _yaml(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise ImmuneError(f"cannot read {path}: {error}") from None
        if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
            raise ImmuneError(f"{path} is not a config: write one `key: value` a line")
        parent = content.pop("extends", None)
        for key, value in content.items():
            if key not in given:
                given[key], origins[key] = value, path.name
        path = None if parent is None else _find(str(parent), beside=path.parent)
    return given, origins


def _find(name: str, beside: Path | None = None) -> Path:
    if name in shipped():
        return FOLDER / f"{name}.yaml"
    for path in (*([beside / name] if beside else []), Path(name)):
        if path.suffix in (".yaml", ".yml") and path.is_file():
            return path
    hint = suggestion(name, shipped(), f"shipped are {', '.join(shipped())}.")
    raise ImmuneError(f"there is no config {name}: {hint} A .yaml file of your own will do as well")


class _UniqueKeys(yaml.SafeLoader):
    """YAML as everyone reads it, but a key given twice is an error and 2e-5 is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"the key {key} stands there twice")
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """What `_UniqueKeys` reads as it was: text that it would take for a number is quoted."""


for _reads_or_writes in (_UniqueKeys, _Dumper):
    _reads_or_writes.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"),
        list("-+0123456789"),
    )


def _yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_UniqueKeys)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2024-13-01
        raise ImmuneError(f"{where} is not YAML: {' '.join(str(error).split())}") from None


def _parser() -> TrlParser:
    from trl import ModelConfig, TrlParser

    class Parser(TrlParser):
        def error(self, message: str) -> NoReturn:
            # Of the two spellings that TRL's parser knows, ours is that of the settings.
            setting = re.sub(r"^argument --(\w+)[^:]*:", r"\1:", message)
            raise ImmuneError(f"a setting has a value that it cannot have: {setting}")

    return Parser((RunArguments, _sft_config(), ModelConfig), allow_abbrev=False, add_help=False)


def _sft_config() -> type:
    """TRL's `SFTConfig` as TRL has it: unsloth puts one with other keys and defaults before it."""
    from trl import SFTConfig

    return next(
        known for known in SFTConfig.__mro__ if "_unsloth_patched_rl_config" not in vars(known)
    )


def _names(dataclass: type) -> list[str]:
    return [field.name for field in fields(dataclass) if field.init]


def _unknown(key: str, origin: str, known: Iterable[str]) -> str:
    hint = suggestion(key, known, "see TRL's SFTConfig and ModelConfig")
    return f"{key} ({origin}) is not a setting: {hint}"


def _text(value: Any) -> str:
    import json

    return json.dumps(value) if isinstance(value, dict | bool) else str(value)


def _plain(value: Any) -> Any:
    """A value without the enumerations that argument parsers make."""
    import enum

    return value.value if isinstance(value, enum.Enum) else value


_BELOW_ONE = math.nextafter(1, 0)
# The least and the most that a number can be, where not every number will do.
_BOUNDS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(
        (
            *("max_length", "lora_r", "lora_alpha", "records_train", "records_eval"),
            *("per_device_train_batch_size", "per_device_eval_batch_size"),
            *("gradient_accumulation_steps", "save_total_limit", "torch_empty_cache_steps"),
        ),
        (1, math.inf),
    ),
    **dict.fromkeys(
        (
            *("learning_rate", "weight_decay", "adam_epsilon", "max_grad_norm", "warmup_steps"),
            *("neftune_noise_alpha", "eval_delay"),
        ),
        (0, math.inf),
    ),
    **dict.fromkeys(("adam_beta1", "adam_beta2", "lora_dropout"), (0, _BELOW_ONE)),
    **dict.fromkeys(("seed", "data_seed"), (0, 2**32 - 1)),
}
_ABOVE_ZERO = ("num_train_epochs", "logging_steps", "eval_steps", "save_steps")


def _check(values: dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        least, most = _BOUNDS.get(key, (-math.inf, math.inf))
        if not math.isfinite(value):
            raise ImmuneError(f"{key}={value} cannot be: give a number")
        if value < least:
            raise ImmuneError(f"{key}={value} cannot be: it is at least {least}")
        if value > most:
            said = "below 1" if most == _BELOW_ONE else f"at most {most}"
            raise ImmuneError(f"{key}={value} cannot be: it is {said}")
        if key in _ABOVE_ZERO and value <= 0:
            raise ImmuneError(f"{key}={value} cannot be: it is more than 0")
    if values["max_steps"] < 1 and values["max_steps"] != -1:
        raise ImmuneError(f"max_steps={values['max_steps']} cannot be: it is at least 1, or -1")
    if "/" in values["name"]:
        raise ImmuneError(f"name={values['name']} cannot be a folder's name: leave out the /")
    if (values["train"] is None) != (values["eval"] is None):
        raise ImmuneError("--train and --eval go together: give both files")
    if values["train"] and values["dataset"]:
        raise ImmuneError("--dataset and --train are two datasets: give one of them")
    if values["max_length"] is None:
        raise ImmuneError("max_length is not set: give the tokens of the longest conversation")
    if values["model_name_or_path"] is None:
        raise ImmuneError("no model is set: give one with --model, or model_name_or_path=…")
    if not values["lora_target_modules"]:
        raise ImmuneError("lora_target_modules is not set: name the layers to adapt, or all-linear")
