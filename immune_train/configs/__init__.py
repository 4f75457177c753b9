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
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import yaml

from immune_data.common.errors import ImmuneError
from immune_data.common.text import suggestion

if TYPE_CHECKING:
    from trl import SFTConfig, TrlParser
    from yaml import SafeLoader
else:
    try:
        from yaml import CSafeLoader as SafeLoader
    except ImportError:  # PyYAML was built without its C library: the same, ten times slower
        from yaml import SafeLoader

FOLDER = Path(__file__).parent

# Defaults of every run, under the names that TRL and transformers use.
_OURS = {
    "eval_strategy": "steps",
    "save_strategy": "steps",
    "save_total_limit": 2,
    "load_best_model_at_end": True,
    "metric_for_best_model": "eval_loss",
    "greater_is_better": False,
    "report_to": "none",
}
# Settings that no run can change: the trainer receives rows that it must not alter, and logs losses
# unfiltered. Settings that are refused are in `refused`.
DECIDED: dict[str, Any] = {
    "remove_unused_columns": False,
    "dataset_kwargs": {"skip_prepare_dataset": True},
    "logging_nan_inf_filter": False,
    "use_peft": True,
    "enable_jit_checkpoint": True,  # every run saves when it is interrupted
}


@dataclass
class RunArguments:
    """Settings that neither TRL nor transformers has."""

    name: str | None = field(
        default=None, metadata={"help": "the run's name (default: the config's)"}
    )
    data: str = field(default="data", metadata={"help": "the artifact folder"})
    dataset: str | None = field(
        default=None, metadata={"help": "the dataset, if it is not the recipe's in that folder"}
    )
    train: str | None = field(default=None, metadata={"help": "JSONL to train on, with eval"})
    eval: str | None = field(default=None, metadata={"help": "JSONL to evaluate on, with train"})
    recipe: str = field(
        default="unified-clean", metadata={"help": "the dataset's recipe, or the config on the Hub"}
    )
    backend: str = field(
        default="auto",
        metadata={
            "help": "unsloth, trl, or auto: unsloth if it and CUDA are available",
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
        default=None, metadata={"help": "evaluate on this many of the shortest records only"}
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
        """The most tokens of a packed micro-batch: a full batch of the longest conversations."""
        return self.max_length * self.per_device_train_batch_size

    def warnings(self) -> list[str]:
        messages = []
        if not self.use_rslora and self.lora_r >= 64:
            messages.append(
                f"RSLoRA is off at r = {self.lora_r}: LoRA's own scale, alpha / r, makes a high "
                "rank learn little; set use_rslora=true"
            )
        return messages

    def trainer_arguments(self, output: Path, **changes: Any) -> SFTConfig:
        """The `SFTConfig` of a run that writes its checkpoints to `output`.

        With packing the trainer's batch is all conversations of a step, which the collator packs.

        Raises:
            ImmuneError: the settings contradict each other, or need hardware that is missing.
        """
        import torch

        arguments = _sft_config()
        names = [name for name in _names(arguments) if name in self.values]
        values = {name: deepcopy(self.values[name]) for name in names}  # TRL changes some in place
        values |= {"max_length": None, "packing": False, "output_dir": str(output), **changes}
        if "enable_jit_checkpoint" in values:
            values["enable_jit_checkpoint"] = False  # its SIGTERM handler would run before ours
        if self.data_seed is None:
            values["data_seed"] = self.seed
        if self.load_best_model_at_end and self.save_total_limit == 1:
            values["save_total_limit"] = 2  # the best one, and the last, to resume from
        values["dataloader_pin_memory"] &= torch.cuda.is_available()
        values["use_cpu"] = not torch.cuda.is_available()  # or processes would not find each other
        if self.packing:
            values["per_device_train_batch_size"] = self.step
            values["gradient_accumulation_steps"] = 1
        try:
            return arguments(**values)
        except (ValueError, ImportError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ImmuneError(
                f"config {self.name} cannot be used here: {reason} (--config tiny trains on a CPU)"
            ) from None

    def effective(self) -> dict[str, Any]:
        """The settings with the values that a trainer resolves on this machine.

        Settings that the trainer receives with other values, because rows are prepared for it, keep
        the values of the config.
        """
        resolved = self.trainer_arguments(Path("unused")).to_dict()
        layout = ("per_device_train_batch_size", "gradient_accumulation_steps")
        unchanged = {"max_length", "packing", "output_dir", "eval_on_start", *layout}
        unchanged |= {"enable_jit_checkpoint", "disable_tqdm"}  # replaced by ours
        return {
            key: resolved[key] if key in resolved and key not in unchanged else value
            for key, value in self.values.items()
        }

    def text(self) -> str:
        """The settings as YAML that can be used as a config again, each with its origin."""
        explicit = [key for key in self.values if self.origins[key] != _DEFAULT]
        implicit = [key for key in self.values if self.origins[key] == _DEFAULT]
        lines = [f"# The settings of a run of config {self.name}, and where each came from.", ""]
        for key in (*explicit, *implicit):
            value = self.values[key]
            if value is None or key in ("output_dir", "logging_dir"):
                continue
            text = yaml.dump(
                value, Dumper=_Dumper, default_flow_style=True, width=10_000, allow_unicode=True
            )
            text = text.removesuffix("\n").removesuffix("\n...")
            lines.append(f"{key}: {text}  # {self.origins[key]}")
        return "\n".join(lines) + "\n"


_DEFAULT = "default"


def shipped() -> list[str]:
    """The names of the configs that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(name: str, overrides: Sequence[str] = ()) -> Config:
    """The config with a shipped name or in a YAML file, with `key=value` overrides on top.

    Raises:
        ImmuneError: it cannot be found or read, or a key or value is invalid.
    """
    settings, origins = read(name)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ImmuneError(f"{override} is not a setting: write key=value")
        settings[key], origins[key] = _yaml(text, f"the setting {override}"), "command line"
    for key, value in (_OURS | DECIDED).items():
        if key not in settings:
            settings[key], origins[key] = value, "immune_train"
    parser = _parser()
    actions = {action.dest: action for action in parser._actions}
    for key, value in settings.items():
        if key not in actions:
            raise ImmuneError(_unknown(key, origins[key], actions))
        if value is False and "no" in (actions[key].choices or ()):
            settings[key] = "no"  # which YAML reads as false
        if key.endswith("_kwargs") and value is not None and not isinstance(value, dict):
            raise ImmuneError(f"{key} ({origins[key]}) is a mapping: write {key}={{name: value}}")
        if isinstance(value, list) and actions[key].nargs != "+":
            raise ImmuneError(f"{key} ({origins[key]}) has one value, not a list of them")
    arguments = ["--output_dir", "unused"] if "output_dir" not in settings else []
    for key, value in settings.items():
        if value not in (None, []):  # an argument parser cannot express either
            if isinstance(value, list):
                arguments += [f"--{key}", *map(_text, value)]
            else:
                arguments.append(f"--{key}={_text(value)}")
    values = deepcopy(vars(parser.parse_args(arguments)))
    values["output_dir"] = settings.get("output_dir")
    for key, value in settings.items():
        if value == [] or isinstance(value, dict):  # which the parser would turn into text
            values[key] = value
        elif value is None and values[key] is not None:
            raise ImmuneError(f"{key} ({origins[key]}) has no value: give one, or leave it out")
    values = {
        key: values[key] for key in (*settings, *(key for key in values if key not in settings))
    }
    if "eval_on_start" not in settings:  # so that every run with evaluations has a baseline
        values["eval_on_start"] = _plain(values["eval_strategy"]) != "no"
        origins["eval_on_start"] = "immune_train"
    values["name"] = values["name"] or Path(name).stem
    for key in values:
        origins.setdefault(key, _DEFAULT)
    _check(values)
    return Config(values["name"], {key: _plain(value) for key, value in values.items()}, origins)


def defaults() -> dict[str, Any]:
    """The default value of each setting."""
    values = deepcopy(vars(_parser().parse_args(["--output_dir", "unused"])))
    values["output_dir"] = None
    return {key: _plain(value) for key, value in values.items()}


def read(name: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The keys of a file and of those it extends, and the file that each came from.

    Raises:
        ImmuneError: there is no such config, or it is not a YAML mapping.
    """
    settings: dict[str, Any] = {}
    origins: dict[str, str] = {}
    paths: list[Path] = []
    path: Path | None = _find(name)
    while path is not None:
        if path.resolve() in paths:
            raise ImmuneError(f"{path} extends itself: name another config to extend")
        paths.append(path.resolve())
        try:
            content = _yaml(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise ImmuneError(f"cannot read {path}: {error}") from None
        if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
            raise ImmuneError(f"{path} is not a config: write one `key: value` per line")
        parent = content.pop("extends", None)
        for key, value in content.items():
            if key not in settings:
                settings[key], origins[key] = value, path.name
        path = None if parent is None else _find(str(parent), folder=path.parent)
    return settings, origins


def _find(name: str, folder: Path | None = None) -> Path:
    if name in shipped():
        return FOLDER / f"{name}.yaml"
    for path in (*([folder / name] if folder else []), Path(name)):
        if path.suffix in (".yaml", ".yml") and path.is_file():
            return path
    hint = suggestion(name, shipped(), f"shipped are {', '.join(shipped())}.")
    raise ImmuneError(f"there is no config {name}: {hint} You can also name a .yaml file")


class _UniqueKeys(SafeLoader):
    """Standard YAML, except that a repeated key is an error and 2e-5 is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"the key {key} is repeated")
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Writes what `_UniqueKeys` reads back: text that looks like a number is quoted."""


for _yaml_class in (_UniqueKeys, _Dumper):
    _yaml_class.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"),
        list("-+0123456789"),
    )


def _yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_UniqueKeys)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2024-13-01
        raise ImmuneError(f"{where} is not YAML: {' '.join(str(error).split())}") from None


@cache
def _parser() -> TrlParser:
    from trl import ModelConfig, TrlParser

    class Parser(TrlParser):
        def error(self, message: str) -> NoReturn:
            # TRL's parser knows two spellings of each option; we show the setting's name.
            setting = re.sub(r"^argument --(\w+)[^:]*:", r"\1:", message)
            raise ImmuneError(f"a setting has an invalid value: {setting}")

    return Parser((RunArguments, _sft_config(), ModelConfig), allow_abbrev=False, add_help=False)


def _sft_config() -> type:
    """TRL's own `SFTConfig`: unsloth puts a class with other keys and defaults in front of it."""
    from trl import SFTConfig

    return next(
        candidate
        for candidate in SFTConfig.__mro__
        if "_unsloth_patched_rl_config" not in vars(candidate)
    )


def _names(dataclass: type) -> list[str]:
    return [field.name for field in fields(dataclass) if field.init]


def _unknown(key: str, origin: str, keys: Iterable[str]) -> str:
    hint = suggestion(key, keys, "see TRL's SFTConfig and ModelConfig")
    return f"{key} ({origin}) is not a setting: {hint}"


def _text(value: Any) -> str:
    import json

    return json.dumps(value) if isinstance(value, dict | bool) else str(value)


def _plain(value: Any) -> Any:
    """A value without the enumerations that argument parsers make."""
    import enum

    return value.value if isinstance(value, enum.Enum) else value


_BELOW_ONE = math.nextafter(1, 0)
# The lowest and highest valid value of settings that have limits.
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
            raise ImmuneError(f"{key}={value} is invalid: give a number")
        if value < least:
            raise ImmuneError(f"{key}={value} is invalid: it must be at least {least}")
        if value > most:
            bound = "below 1" if most == _BELOW_ONE else f"at most {most}"
            raise ImmuneError(f"{key}={value} is invalid: it must be {bound}")
        if key in _ABOVE_ZERO and value <= 0:
            raise ImmuneError(f"{key}={value} is invalid: it must be more than 0")
    if values["max_steps"] < 1 and values["max_steps"] != -1:
        raise ImmuneError(
            f"max_steps={values['max_steps']} is invalid: it must be at least 1, or -1"
        )
    if "/" in values["name"]:
        raise ImmuneError(f"name={values['name']} is not a valid folder name: leave out the /")
    if (values["train"] is None) != (values["eval"] is None):
        raise ImmuneError("--train and --eval go together: give both files")
    if values["train"] and values["dataset"]:
        raise ImmuneError("--dataset and --train cannot be combined: give one of them")
    if values["max_length"] is None:
        raise ImmuneError("max_length is not set: give the tokens of the longest conversation")
    if values["model_name_or_path"] is None:
        raise ImmuneError("no model is set: give one with --model, or model_name_or_path=…")
    if not values["lora_target_modules"]:
        raise ImmuneError("lora_target_modules is not set: name the layers to adapt, or all-linear")
