"""What the tests of training share: small conversations, and their tokens written by hand."""

from __future__ import annotations

import ctypes
import itertools
import json
import random
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from corpus import MODELS, Corpus, dag

from immune_data.contract import chat
from immune_data.prompts import Message
from immune_train.data.labels import Row

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of malloc.h

NO_LOSS = -100
START, END = 151_644, 151_645
DEFAULT_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."

# As `tokenizer_config.json` of Qwen2.5-1.5B-Instruct has it, but for what it says of tools.
QWENS_OWN = (
    "{%- if tools %}\n    {{- '<|im_start|>system\\n' }}\n{%- else %}\n"
    "    {%- if messages[0]['role'] == 'system' %}\n"
    "        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}\n"
    "    {%- else %}\n"
    "        {{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
    "assistant.<|im_end|>\\n' }}\n"
    "    {%- endif %}\n"
    "{%- endif %}\n"
    "{%- for message in messages %}\n"
    '    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or '
    '(message.role == "assistant" and not message.tool_calls) %}\n'
    "        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "\n"
    '    {%- elif message.role == "assistant" %}\n'
    "        {{- '<|im_start|>' + message.role }}\n"
    "    {%- endif %}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}\n"
)

WORDS = 1000  # of `model_of_few_words`

# The size of `tiny_model`, which is smaller than the shipped one.
SMALL = {
    **{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1},
    **{"num_attention_heads": 2, "num_key_value_heads": 1},
}


def keep_memory() -> None:
    """Keep what a step frees for the next one, which needs as much again.

    Otherwise a third of a run on the CPU is spent on getting pages from the system and clearing
    them: the logits of a real vocabulary are large. Where the C library has no `mallopt`, it stays
    so.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)


# Answers of few tokens that every gate accepts: each token of an answer costs a run as many logits
# as there are tokens in the vocabulary. A word is a token, and none follows itself, which a model
# that has learned nothing would guess.
_ANSWERS = {
    "summary": ("Summary of {} by {}.", " communications infrastructure", 6),
    "cause": ("Causes of {} by {}.", " server client", 23),
    "risk": ("Risk of {} by {}: High.", " danger loss", 13),
}


def _answers(incident_id: str) -> dict[str, dict[str, str]]:
    return {
        model: {
            task: f"{opening.format(incident_id, model)}{words * times}."
            for task, (opening, words, times) in _ANSWERS.items()
        }
        for model in MODELS
    }


def corpus() -> Corpus:
    """Every kind of record: all tasks, risk-only incidents, evidence that is cut, and a leak."""
    made = Corpus()

    def incident(incident_id: str, **fields: Any) -> None:
        made.incident(incident_id, answers=_answers(incident_id), **fields)

    for number in range(20):
        incident(f"i{number:02}", facts={"source_ip": f"10.0.0.{number}"})
    long = dag("long") + "10:15 - horizontal port scan of 10.1.2.3:443/TCP [HIGH]\n" * 200
    incident("long", facts={"source_ip": "10.0.1.1"}, dag=long)
    for number in range(6):
        facts = {"source_ip": f"10.0.2.{number}"}
        incident(f"r{number}", facts=facts, summary_scores=None)
    return made


def record(
    asked: str = "What?",
    answer: str = "That.",
    *,
    system: str | None = None,
    incident_id: str = "a",
    task: str = "risk",
    **fields: Any,
) -> dict[str, Any]:
    """An emitted record of a short conversation, with its true length."""
    messages = [] if system is None else [Message("system", system)]
    messages += [Message("user", asked), Message("assistant", answer)]
    return {
        "messages": [{"role": message.role, "content": message.content} for message in messages],
        "incident_id": incident_id,
        "task": task,
        "model": "gpt-4o",
        "score": 9.0,
        "dag_truncated": False,
        "origin": "unified",
        "tokens": chat.measure(messages).total,
        **fields,
    }


def write(path: Path, records: Iterable[dict[str, Any]]) -> Path:
    """Write records as JSON Lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(one, ensure_ascii=False) + "\n" for one in records]
    path.write_text("".join(lines), encoding="utf-8")
    return path


@cache
def _ranks() -> Any:
    import tiktoken

    return tiktoken.get_encoding("qwen2.5")


def plain(text: str) -> list[int]:
    """The tokens of a text in which nothing is a control token, by tiktoken."""
    return _ranks().encode_ordinary(unicodedata.normalize("NFC", text))


def decode(ids: Sequence[int]) -> str:
    return _ranks().decode(list(ids))


def by_hand(messages: Sequence[dict[str, str]]) -> tuple[list[int], list[int]]:
    """The ids and labels of a conversation, written down once more."""
    *asked, last = messages
    if asked[0]["role"] != "system":
        asked = [{"role": "system", "content": DEFAULT_SYSTEM}, *asked]
    turns = [
        [START, *plain(f"{one['role']}\n{one['content']}"), END, *plain("\n")] for one in asked
    ]
    opening = [*itertools.chain(*turns), START, *plain("assistant\n")]
    answer = [*plain(last["content"]), END]
    return (
        [*opening, *answer, *plain("\n")],
        [*[NO_LOSS] * len(opening), *answer, *[NO_LOSS] * len(plain("\n"))],
    )


def small_tokenizer(template: str | None) -> Any:
    """A tokenizer of a few tokens with this chat template, which takes no time to make."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    made = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0}, unk_token="a")))
    made.add_special_tokens({"eos_token": "<|im_end|>", "pad_token": "a"})
    made.add_tokens(["<|im_start|>"])
    made.chat_template = template
    made.name_or_path = "acme/model"
    return made


def model_of_few_words(**adapter: Any) -> Any:
    """A tiny model of a small vocabulary, whose losses take no time, with an adapter."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2ForCausalLM

    from immune_train import configs
    from immune_train.random_model import __main__ as random_model

    torch.manual_seed(3)
    few = {"vocab_size": WORDS, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 1}
    base = Qwen2ForCausalLM(random_model.config("tiny", **SMALL | few | {"num_hidden_layers": 2}))
    modules = configs.load("tiny").lora_target_modules
    return get_peft_model(base, LoraConfig(r=4, target_modules=modules, **adapter))


def rows(*lengths: int, seed: int = 1) -> list[dict[str, list[int]]]:
    """Conversations of these lengths, the last half of each an answer."""
    rng = random.Random(seed)
    made = []
    for length in lengths:
        ids = [rng.randrange(WORDS) for _ in range(length)]
        made.append({"input_ids": ids, "labels": [NO_LOSS] * (length // 2) + ids[length // 2 :]})
    return made


def as_rows(lengths: Sequence[int]) -> list[Row]:
    tasks = ("summary", "cause", "risk")
    return [
        Row(row["input_ids"], n // 2, n, n, tasks[i % 3], f"i{i}")
        for i, (n, row) in enumerate(zip(lengths, rows(*lengths), strict=True))
    ]
