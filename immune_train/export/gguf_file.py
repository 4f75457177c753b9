"""Make a GGUF file from a merged model: a folder that `transformers` loads in, a 16-bit file out.

It is written with llama.cpp's own `gguf` package (tensor names, metadata, special tokens), one
tensor at a time, so that a model larger than the memory can be converted. The file is byte for byte
the one that llama.cpp's `convert_hf_to_gguf.py --outtype f16` writes for a folder of that name (a
test compares them), except for the keys that say what a run's model was trained on.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import msgspec

from immune_data.common.errors import ImmuneError

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFWriter, SpecialVocab

    from immune_train.artifacts.provenance import TrainedOn

ARCHITECTURE = "Qwen2ForCausalLM"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"

_AT_ONCE = 1 << 23  # numbers converted at a time
_TYPES = {"BF16": 2, "F16": 2, "F32": 4}

# How llama.cpp recognises a tokenizer: the ids of this text, which its converter hashes.
_PROBE = (
    "\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n     \n🚀 (normal) 😶\u200d🌫️ (multiple emojis "
    "concatenated) ✅ 🦙🦙 3 33 333 3333 33333 333333 3333333 33333333 3.3 3..3 3...3 "
    "កាន់តែពិសេសអាច😁 ?我想在apple工作1314151天～ ------======= нещо на Български "
    "''''''```````\"\"\"\"......!!!!!!?????? I've been 'told he's there, 'RE you sure? 'M not "
    "sure I'll make it, 'D you like some tea? We'Ve a'lL"
)
_QWEN2 = "e636dc30a262dcc0d8c323492e32ae2b70728f4df7dfe9737d9f920a282b8aea"


@dataclass(frozen=True)
class Tensor:
    """A tensor in a safetensors file, with its name in GGUF."""

    name: str
    original: str
    shape: tuple[int, ...]
    type: str
    file: Path
    offset: int

    @property
    def numbers(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def is_matrix(self) -> bool:
        """Whether it is kept in 16 bits and may be quantised; all others stay in 32."""
        return len(self.shape) > 1 and not self.name.endswith("_norm.weight")

    @property
    def nbytes(self) -> int:
        return self.numbers * (2 if self.is_matrix else 4)

    def tofile(self, file: BinaryIO) -> None:
        """Write the numbers in the format of the GGUF file.

        Raises:
            ImmuneError: a number is too large for 16 bits.
        """
        import numpy as np

        for part in self._parts():
            if self.is_matrix:
                with np.errstate(over="ignore"):
                    small = part.astype(np.float16, copy=False)
                if not np.isfinite(small).all():
                    raise ImmuneError(
                        f"{self.original} contains numbers that are not finite or do not fit "
                        "16 bits: the training went wrong, or this is not a merged model"
                    )
                part = small
            file.write(np.ascontiguousarray(part).data)

    def _parts(self) -> Iterator[np.ndarray]:
        import numpy as np

        size = _TYPES[self.type]
        with self.file.open("rb") as file:
            file.seek(self.offset)
            for start in range(0, self.numbers, _AT_ONCE):
                data = file.read(min(_AT_ONCE, self.numbers - start) * size)
                if self.type == "BF16":
                    yield (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
                elif self.is_matrix:
                    yield np.frombuffer(data, "<f2" if self.type == "F16" else "<f4")
                else:
                    yield np.frombuffer(data, "<f2" if self.type == "F16" else "<f4").astype("<f4")


@dataclass(frozen=True)
class Model:
    """A merged model that can be converted: its settings, tensors, special tokens and template."""

    folder: Path
    config: dict[str, Any]
    tensors: list[Tensor]
    special: SpecialVocab
    template: str

    def files(self) -> list[Path]:
        """The files that decide the content of the export."""
        names = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
        candidates = [self.folder / name for name in (*names, "chat_template.jinja", "README.md")]
        return [*(path for path in candidates if path.is_file()), *_parts(self.folder)]


def read(folder: Path) -> Model:
    """The model in `folder`, described but not loaded.

    Raises:
        ImmuneError: there is no model, or it cannot be converted.
    """
    if not folder.is_dir():
        raise ImmuneError(f"{folder} does not exist: name the folder of a merged model")
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise ImmuneError(
                f"{folder} is an adapter: name the merged model next to it, "
                f"{folder.parent / 'merged_16bit'}"
            )
        raise ImmuneError(f"{folder} contains no model (no config.json): name a merged model")
    config = _json(folder / "config.json")
    architecture = (config.get("architectures") or ["nothing"])[0]
    if architecture != ARCHITECTURE:
        raise ImmuneError(f"{folder} is a {architecture}: only {ARCHITECTURE} can be exported")
    if config.get("quantization_config"):
        raise ImmuneError(
            f"{folder} is already quantised: export the 16-bit model that it was made from"
        )
    rope = _rope(config)
    if rope.get("rope_type", "default") != "default":
        raise ImmuneError(
            f"{folder} extends its context with {rope['rope_type']}, which is not supported: "
            "export a model with plain positions"
        )
    return Model(folder, config, _tensors(folder, config), *_special(folder))


def convert(model: Model, name: str, target: Path, trained_on: TrainedOn | None = None) -> None:
    """Write the model as `target`; `name` is the model's name in the file's metadata.

    `trained_on` is added in keys that llama.cpp's converter does not write.

    Raises:
        ImmuneError: the tokenizer is not Qwen2.5's, or a tensor cannot be written.
    """
    import numpy as np

    writer = _writer(target)
    try:
        for tensor in model.tensors:
            kind = np.dtype(np.float16 if tensor.is_matrix else np.float32)
            writer.add_tensor_info(tensor.name, list(tensor.shape), kind, tensor.nbytes)
        _describe(writer, model, name, target.parent)
        _set_parameters(writer, model.config)
        if trained_on is not None:
            trained_on.add_to(writer)
        _set_vocabulary(writer, model)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor in model.tensors:
            writer.write_tensor_data(cast("np.ndarray", tensor))  # it has what the writer needs
    finally:
        writer.close()


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ImmuneError(f"{path} cannot be read as JSON: write the model again") from None
    if not isinstance(content, dict):
        raise ImmuneError(f"{path} does not contain a JSON object: write the model again")
    return content


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of positions: one object since transformers 5, two keys before."""
    scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = scaling.get("rope_type") or scaling.get("type") or "default"
    return {"rope_theta": config.get("rope_theta", 10_000.0), **scaling, "rope_type": kind}


def _parts(folder: Path) -> list[Path]:
    """The files with the weights."""
    if not (folder / INDEX).is_file():
        return [folder / WEIGHTS]
    index = _json(folder / INDEX)
    return [folder / name for name in sorted(set(index.get("weight_map", {}).values()))]


def _tensors(folder: Path, config: dict[str, Any]) -> list[Tensor]:
    import gguf

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, config["num_hidden_layers"])
    tensors = []
    for path in _parts(folder):
        for original, (kind, shape, offset) in sorted(_header(path).items()):
            if original.endswith(".rotary_emb.inv_freq"):
                continue
            name = names.get_name(original, try_suffixes=(".weight", ".bias"))
            if name is None:
                raise ImmuneError(
                    f"{path} contains {original}, which is not part of a {ARCHITECTURE}: "
                    "merge the adapter into its base first"
                )
            if kind not in _TYPES:
                raise ImmuneError(f"{original} in {path} is {kind}: export a 16-bit model")
            tensors.append(Tensor(name, original, shape, kind, path, offset))
    return tensors


def _header(path: Path) -> dict[str, tuple[str, tuple[int, ...], int]]:
    """Type, shape and offset of each tensor in a safetensors file."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            content = json.loads(file.read(length))
        content.pop("__metadata__", None)
        entries = {
            name: (entry["dtype"], tuple(entry["shape"]), 8 + length + entry["data_offsets"][0])
            for name, entry in content.items()
        }
        end = max(entry["data_offsets"][1] for entry in content.values())
        if path.stat().st_size != 8 + length + end:
            raise ValueError
    except FileNotFoundError:
        raise ImmuneError(f"{path} is missing: the model's folder is not complete") from None
    except (OSError, ValueError, KeyError, TypeError, struct.error, MemoryError):
        raise ImmuneError(f"{path} is damaged or cut short: write the model again") from None
    return entries


def _special(folder: Path) -> tuple[SpecialVocab, str]:
    """The special tokens, and the chat template."""
    import gguf

    special = gguf.SpecialVocab(folder)
    if not isinstance(special.chat_template, str):
        raise ImmuneError(f"{folder} has no chat template: save the tokenizer with the model")
    return special, special.chat_template


def _writer(target: Path) -> GGUFWriter:
    import gguf

    kinds = gguf.GGUFValueType

    class Writer(gguf.GGUFWriter):
        """Packs a list of texts or numbers at once: a vocabulary has 450,000 of them."""

        def _pack_val(self, val: Any, vtype: Any, add_vtype: bool, sub_type: Any = None) -> bytes:
            kind = kinds.get_type(val[0]) if vtype == kinds.ARRAY else None
            if kind == kinds.STRING:
                size = struct.Struct("<Q").pack
                texts = [text.encode() for text in val]
                packed = b"".join(part for text in texts for part in (size(len(text)), text))
            elif kind == kinds.INT32:
                packed = struct.pack(f"<{len(val)}i", *val)
            else:
                return super()._pack_val(val, vtype, add_vtype, sub_type)
            return struct.pack("<IIQ", vtype, kind, len(val)) + packed

    return Writer(target, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.QWEN2])


def _describe(writer: GGUFWriter, model: Model, name: str, folder: Path) -> None:
    """Write the metadata, which llama.cpp derives from a folder's name and a model card."""
    import gguf

    link = folder / f"{name}.folder" / name
    link.parent.mkdir()
    link.symlink_to(model.folder.resolve(), target_is_directory=True)
    counts = writer.get_total_parameter_count()
    metadata = gguf.Metadata.load(None, link, None, counts[0])
    if metadata.name is None:
        metadata.name = name
    if metadata.size_label is None:
        metadata.size_label = gguf.size_label(*counts)
    writer.add_type(gguf.GGUFType.MODEL)
    metadata.set_gguf_meta_model(writer)
    link.unlink()
    link.parent.rmdir()


def _set_parameters(writer: GGUFWriter, config: dict[str, Any]) -> None:
    import gguf

    try:
        writer.add_block_count(config["num_hidden_layers"])
        writer.add_context_length(config["max_position_embeddings"])
        writer.add_embedding_length(config["hidden_size"])
        writer.add_feed_forward_length(config["intermediate_size"])
        writer.add_head_count(config["num_attention_heads"])
        writer.add_head_count_kv(config["num_key_value_heads"])
        writer.add_rope_freq_base(_rope(config)["rope_theta"])
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    except KeyError as error:
        raise ImmuneError(f"config.json has no {error.args[0]}: write the model again") from None
    if (head := config.get("head_dim")) is not None:
        writer.add_key_length(head)
        writer.add_value_length(head)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _set_vocabulary(writer: GGUFWriter, model: Model) -> None:
    import gguf

    kinds = gguf.TokenType
    tokenizer = vocabulary(model.folder / "tokenizer.json")
    tokens, types = [], []
    for number in range(model.config.get("vocab_size", len(tokenizer.texts))):
        text = tokenizer.texts.get(number)
        tokens.append(f"[PAD{number}]" if text is None else text)
        if text is None:
            types.append(kinds.UNUSED)
        elif number not in tokenizer.added:
            types.append(kinds.NORMAL)
        else:
            types.append(kinds.CONTROL if tokenizer.added[number] else kinds.USER_DEFINED)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    model.special.merges = tokenizer.merges
    model.special.add_to_gguf(writer, quiet=True)
    if "bos" not in model.special.add_special_token:
        # Qwen's own files contain this key. If it is missing, llama.cpp adds no such token either,
        # but Ollama puts <|endoftext|> before every prompt.
        writer.add_add_bos_token(False)


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer's tokens by number, its merges, and which of the added tokens are controls."""

    texts: dict[int, str]
    added: dict[int, bool]
    merges: list[str]


def vocabulary(path: Path) -> Vocabulary:
    """The vocabulary in a `tokenizer.json`.

    Raises:
        ImmuneError: it is not Qwen2.5's.
    """
    from tokenizers import Tokenizer

    if not path.is_file():
        raise ImmuneError(f"{path} is missing: save the tokenizer with the model")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception:  # the library raises plain exceptions
        raise ImmuneError(f"{path} is not a tokenizer: save it again with the model") from None
    ids = tokenizer.encode(_PROBE).ids
    if hashlib.sha256(str(ids).encode()).hexdigest() != _QWEN2:
        raise ImmuneError(f"{path} is not Qwen2.5's tokenizer: only that one can be exported")
    texts = {number: text for text, number in tokenizer.get_vocab().items()}
    added = {
        number: token.special or (texts[number].startswith("<|") and texts[number].endswith("|>"))
        for number, token in tokenizer.get_added_tokens_decoder().items()
    }
    return Vocabulary(texts, added, _merges(path))


class _Merges(msgspec.Struct):
    """What `tokenizer.json` has under `model`: pairs, in older files joined by a space."""

    merges: list[str | tuple[str, str]]


class _Tokenizer(msgspec.Struct):
    model: _Merges


def _merges(path: Path) -> list[str]:
    found = msgspec.json.decode(path.read_bytes(), type=_Tokenizer).model.merges
    return [one if isinstance(one, str) else " ".join(one) for one in found]
