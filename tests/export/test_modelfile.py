"""One prompt, read by four templates: training's, Hugging Face's, llama.cpp's and Ollama's.

A template that differs by a line end ruins a good model, so that they are compared by token ids.
Ollama is not here: its `Modelfile` grammar, and as much of Go's template language as we use, are
written down below, from Ollama's documentation and the rules of its own reader.
"""

from __future__ import annotations

import json
import re
import shutil
import unicodedata
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import libraries
import pytest
from exported import as_qwens, asked, run
from training import QWENS_OWN

from immune_data.common.errors import ImmuneError
from immune_data.contract.chat import DEFAULT_SYSTEM, prompt_ids, render, with_system
from immune_data.prompts import Message

pytest.importorskip("gguf")
pytest.importorskip("llama_cpp")

import llama_cpp
from llama_cpp.llama_chat_format import Jinja2ChatFormatter

from immune_train.export import modelfile

pytestmark = [libraries.training, pytest.mark.usefixtures("kept_vocabularies")]

TASKS = ("summary", "cause", "risk")
SETTINGS = modelfile.Settings(4096, DEFAULT_SYSTEM)

# Ollama's parameters that a Modelfile may set, with what their values are.
PARAMETERS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("num_ctx", "repeat_last_n", "seed", "num_predict", "top_k"), int),
    **dict.fromkeys(("repeat_penalty", "temperature", "top_p", "min_p"), float),
    "stop": str,
}
INSTRUCTIONS = ("from", "parameter", "template", "system", "adapter", "license", "message")


def parse(text: str) -> list[tuple[str, Any]]:
    """The instructions of a Modelfile; a value is quoted once or thrice, or ends with its line."""
    found, at = [], 0
    pattern = re.compile(
        r"(?:[ \t\r\n]|#[^\n]*(?:\n|\Z))*(?:(?P<name>[A-Za-z]+)(?P<gap>[ \t]+)"
        r'(?:"""(?P<long>.*?)"""|"(?P<short>[^"\n]*)"[ \t]*(?=\n|\Z)|(?P<bare>[^"\n][^\n]*)))?',
        re.DOTALL,
    )
    parameter = re.compile(r'(\w+)[ \t]+(?:"([^"\n]*)"|(.*))')
    while at < len(text):
        match = pattern.match(text, at)
        assert match is not None
        assert match.end() > at, f"no instruction: {text[at : at + 40]!r}"
        at = match.end()
        if match["name"] is None:
            continue
        name = match["name"].lower()
        assert name in INSTRUCTIONS, name
        value: Any = next(match[key] for key in ("long", "short", "bare") if match[key] is not None)
        if name == "parameter":
            assert match["gap"] == " ", "to Ollama a second space is the end of an empty name"
            key, quoted, bare = parameter.fullmatch(value).groups()
            value = (key, PARAMETERS[key](bare.strip() if quoted is None else quoted))
        found.append((name, value))
    assert [name for name, _ in found].count("from") == 1
    return found


def execute(template: str, data: dict[str, Any]) -> str:
    """What Go's text/template makes of data, for fields and `range` over a list of objects."""
    parts = re.split(r"\{\{(-?)\s*(.*?)\s*(-?)\}\}", template, flags=re.DOTALL)
    texts, actions = parts[::4], list(zip(*(parts[i::4] for i in (1, 2, 3)), strict=True))
    for i, (left, _, right) in enumerate(actions):
        texts[i] = texts[i].rstrip(" \t\r\n") if left else texts[i]
        texts[i + 1] = texts[i + 1].lstrip(" \t\r\n") if right else texts[i + 1]

    def walk(i: int, dot: Any, say: list[str]) -> int:
        """Execute from text `i` on to the end of its block; the number of the `end`."""
        say.append(texts[i])
        while i < len(actions):
            action = actions[i][1]
            if action == "end":
                return i
            if action.startswith("range "):
                items, end = dot[action.removeprefix("range .")], None
                for item in items:
                    end = walk(i + 1, item, say)
                i = walk(i + 1, {}, []) if end is None else end
            else:
                say.append(str(dot.get(action.removeprefix("."), "")))
            i += 1
            say.append(texts[i])
        return i

    said: list[str] = []
    walk(0, data, said)
    return "".join(said)


def ollama(text: str, messages: list[Message]) -> str:
    """The prompt that Ollama makes of a chat, with the Modelfile `text`."""
    instructions = dict(parse(text))
    if "system" in instructions and messages[0].role != "system":
        messages = [Message("system", instructions["system"]), *messages]
    as_data = [{"Role": message.role, "Content": message.content} for message in messages]
    return execute(instructions["template"], {"Messages": as_data})


@pytest.fixture(scope="session")
def made(tiny_model: Path, shared_folder: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A tiny model, and a file of it with its Modelfile."""

    def make(folder: Path) -> None:
        copied = as_qwens(Path(shutil.copytree(tiny_model, folder / "tiny")))
        assert run(copied, "--output", folder / "gguf", "--quant", "q8_0") == 0

    return shared_folder("modelfile", make)


@pytest.fixture(scope="session")
def published(made: Path, shared_folder: Callable[[str, Callable], Path]) -> Path:
    """The same of a model with the template that Qwen2.5 is published with.

    It speaks of tools and ours does not, so that newer versions of Ollama take it and not the
    Modelfile's.
    """

    def make(folder: Path) -> None:
        copied = Path(shutil.copytree(made / "tiny", folder / "tiny"))
        (copied / "chat_template.jinja").write_text(QWENS_OWN, encoding="utf-8")
        assert run(copied, "--output", folder / "gguf", "--quant", "q8_0") == 0

    return shared_folder("modelfile-published", make)


@cache
def opened(made: Path) -> llama_cpp.Llama:
    return llama_cpp.Llama(str(made / "gguf" / "tiny-q8_0.gguf"), vocab_only=True, verbose=False)


@pytest.fixture(scope="module")
def loaded(made: Path) -> llama_cpp.Llama:
    return opened(made)


@cache
def tokenizer_of(made: Path) -> Any:
    """The model's own, as transformers loads it."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(made / "tiny")


def ids(loaded: llama_cpp.Llama, prompt: str) -> list[int]:
    """The tokens of a whole prompt, as llama.cpp's server and Ollama make them."""
    return loaded.tokenize(prompt.encode(), add_bos=True, special=True)


# Templates


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("whose", ["made", "published"])
def test_all_templates_give_the_same_token_ids(
    request: pytest.FixtureRequest, whose: str, task: str
) -> None:
    made: Path = request.getfixturevalue(whose)
    loaded = opened(made)
    assert ("tools" in loaded.metadata["tokenizer.chat_template"]) == (whose == "published")
    messages = asked(task)
    dicts: list[Any] = [{"role": m.role, "content": m.content} for m in messages]
    tokenizer = tokenizer_of(made)
    encoded = tokenizer.apply_chat_template(dicts, tokenize=True, add_generation_prompt=True)
    expected = encoded["input_ids"]

    template = loaded.metadata["tokenizer.chat_template"]
    by_jinja = Jinja2ChatFormatter(template, eos_token="<|im_end|>", bos_token="")
    by_ollama = ollama((made / "gguf" / "Modelfile").read_text(encoding="utf-8"), messages)

    assert prompt_ids(messages) == expected
    assert ids(loaded, by_jinja(messages=dicts).prompt) == expected
    assert ids(loaded, by_ollama) == expected
    assert by_ollama == render(messages) + "<|im_start|>assistant\n"
    assert (messages[0].role == "system") == (task == "summary")


@pytest.mark.parametrize("task", TASKS)
def test_llama_cpps_own_reading_of_the_template_wants_the_system_message(
    loaded: llama_cpp.Llama, task: str
) -> None:
    """Without a Jinja engine llama.cpp only knows ChatML: it leaves out the default message."""
    messages = asked(task)
    assert built_in(loaded, with_system(messages)) == render(messages) + "<|im_start|>assistant\n"
    assert (built_in(loaded, messages) == built_in(loaded, with_system(messages))) == (
        task == "summary"
    )


def built_in(loaded: llama_cpp.Llama, messages: list[Message]) -> str:
    import ctypes

    chat = (llama_cpp.llama_chat_message * len(messages))()
    for one, message in zip(chat, messages, strict=True):
        one.role, one.content = message.role.encode(), message.content.encode()
    template = loaded.metadata["tokenizer.chat_template"].encode()
    buffer = ctypes.create_string_buffer(1 << 20)
    size = llama_cpp.llama_chat_apply_template(
        template, chat, len(messages), True, buffer, len(buffer)
    )
    return buffer.raw[:size].decode()


def test_conversations_of_several_turns_are_the_same_too(made: Path) -> None:
    text = (made / "gguf" / "Modelfile").read_text(encoding="utf-8")
    messages = [
        Message("user", " {{ .Role }}\n"),
        Message("assistant", '"""\\n'),
        Message("user", "\n\nb\n"),
    ]
    assert ollama(text, messages) == render(messages) + "<|im_start|>assistant\n"


def test_llama_cpp_does_not_compose_characters_and_training_does(
    made: Path, loaded: llama_cpp.Llama
) -> None:
    """Why `generate` and the round trip normalise by themselves."""
    text = unicodedata.normalize("NFD", "café")
    tokenizer = tokenizer_of(made)
    assert tokenizer.encode(text) == ids(loaded, unicodedata.normalize("NFC", text))
    assert tokenizer.encode(text) != ids(loaded, text)


# The Modelfile


def test_the_modelfile_is_accepted_and_says_how_it_was_trained(made: Path) -> None:
    found = parse((made / "gguf" / "Modelfile").read_text(encoding="utf-8"))
    assert ("from", "./tiny-q8_0.gguf") in found
    assert (made / "gguf" / "tiny-q8_0.gguf").is_file()
    assert [value for name, value in found if name == "parameter"] == [
        ("num_ctx", 4096),
        ("temperature", 0),
        ("repeat_penalty", 1),
        ("stop", "<|im_end|>"),
        ("stop", "<|endoftext|>"),
    ]
    assert ("system", DEFAULT_SYSTEM) in found
    assert ("template", modelfile.TEMPLATE) in found
    assert "{{ .Content }}" in modelfile.TEMPLATE


def test_a_template_without_a_default_message_gives_no_system(tmp_path: Path) -> None:
    plain = (
        "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + "
        "message.content + '<|im_end|>\\n' }}{% endfor %}{{ '<|im_start|>assistant\\n' }}"
    )
    assert modelfile.default_system(plain) is None
    text = modelfile.render("A", "a.gguf", [], modelfile.Settings(2048, None))
    assert "system" not in dict(parse(text))
    assert ("parameter", ("num_ctx", 2048)) in parse(text)


def test_what_cannot_be_written_is_refused() -> None:
    settings = modelfile.Settings(4096, 'say """')
    with pytest.raises(ImmuneError, match="cannot be put into a Modelfile"):
        modelfile.render("a", "a.gguf", [], settings)
    for lost in ("\xa0", "\u3000", "\u200b", "\u2028", "\r", "\x1b", "\ue000"):
        with pytest.raises(ImmuneError, match=f"contains U.{ord(lost):04X}, which Ollama drops"):
            modelfile.render("a", "a.gguf", [], modelfile.Settings(4096, f"say{lost}"))
    kept = "naïve 日本 🦙\n\ttab"
    assert ("system", kept) in parse(
        modelfile.render("a", "a.gguf", [], modelfile.Settings(4096, kept))
    )
    for template in ("{{ messages[0].content }}", "{{ raise_exception('no') }}", "{% if %}"):
        with pytest.raises(ImmuneError, match="chat template"):
            modelfile.default_system(template)


def test_the_grammar_refuses_what_ollama_would() -> None:
    """Of the test's own reader, or the tests above would show nothing."""
    good = modelfile.render("a", "a.gguf", ["b.gguf"], SETTINGS)
    assert dict(parse(good))["from"] == "./a.gguf"
    for bad in (
        good.replace("FROM", "FORM"),
        good.replace("FROM ./a.gguf", ""),
        good.replace("num_ctx", "context"),
        good.replace("4096", "many"),
        good.replace("PARAMETER num_ctx", "PARAMETER  num_ctx"),
    ):
        with pytest.raises((AssertionError, KeyError, ValueError)):
            parse(bad)


def test_export_json_says_the_same_as_the_modelfile(made: Path) -> None:
    found = json.loads((made / "gguf" / "export.json").read_text(encoding="utf-8"))["ollama"]
    assert found == {**SETTINGS.parameters(), "system": DEFAULT_SYSTEM}
