"""Ollama's `Modelfile`: a GGUF file and a chat template in, how to run it as it was trained out.

The template is written again in Go's language, which is what Ollama reads; newer versions of it
may take the GGUF file's own Jinja instead. A test compares the token ids of both on every task's
prompt. It is only written for a template that is ChatML.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from immune_data.common.errors import ImmuneError

START, END, END_OF_TEXT = "<|im_start|>", "<|im_end|>", "<|endoftext|>"

# Ollama puts the SYSTEM message before the messages of a request that bring none of their own.
TEMPLATE = (
    "{{- range .Messages }}" + START + "{{ .Role }}\n{{ .Content }}" + END + "\n"
    "{{ end }}" + START + "assistant\n"
)


@dataclass(frozen=True)
class Settings:
    """How a model wants to be asked: the context it was trained with, and the system message
    that its chat template puts where a conversation brings none."""

    context: int
    system: str | None

    def parameters(self) -> dict[str, Any]:
        """Ollama's parameters by name.

        Greedy and without a penalty on repetition, which Ollama has by default: addresses and
        counts are there to be repeated.
        """
        return {
            "num_ctx": self.context,
            "temperature": 0,
            "repeat_penalty": 1.0,
            "stop": [END, END_OF_TEXT],
        }


def render(name: str, file: str, others: list[str], settings: Settings) -> str:
    """The text of a Modelfile that lies beside `file`."""
    lines = [
        f"# {name}, as immune_train.export wrote it:",
        f"#   ollama create {name.lower()} -f Modelfile && ollama run {name.lower()}",
    ]
    if others:
        lines.append(f"# The other files here are the same model: {', '.join(others)}")
    lines += ["", f"FROM ./{file}", ""]
    for key, value in settings.parameters().items():
        for one in value if isinstance(value, list) else [value]:
            lines.append(f"PARAMETER {key} {json.dumps(one)}")
    lines += ["", f"TEMPLATE {_quoted(TEMPLATE)}"]
    if settings.system is not None:
        lines += ["", f"SYSTEM {_quoted(settings.system)}"]
    return "\n".join(lines) + "\n"


def default_system(template: str) -> str | None:
    """The system message that a Jinja chat template puts where a conversation brings none.

    Raises:
        ImmuneError: the template is not ChatML, which is all that `TEMPLATE` says.
    """
    own = _applied(template, [("system", "a"), ("user", "b")])
    bare = _applied(template, [("user", "b")])
    asked = f"{START}user\nb{END}\n{START}assistant\n"
    opening, closing = f"{START}system\n", f"{END}\n"
    if own == f"{opening}a{closing}{asked}":
        if bare == asked:
            return None
        if bare.startswith(opening) and bare.endswith(closing + asked):
            return bare[len(opening) : -len(closing + asked)]
    raise ImmuneError(
        "the model's chat template is not Qwen2.5's ChatML: an Ollama Modelfile cannot be written "
        "for it"
    )


def _applied(template: str, messages: list[tuple[str, str]]) -> str:
    """What a chat template makes of messages, rendered as `transformers` does."""
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
    try:
        return environment.from_string(template).render(
            messages=[{"role": role, "content": content} for role, content in messages],
            add_generation_prompt=True,
            tools=None,
        )
    except jinja2.TemplateError as error:
        raise ImmuneError(f"the model's chat template cannot be applied: {error}") from None


def _quoted(text: str) -> str:
    if '"""' in text:
        raise ImmuneError('a system message that holds """ cannot be put into a Modelfile')
    # Ollama's reader leaves out what Go does not print, such as a no-break space, without a word.
    lost = next((one for one in text if not one.isprintable() and one not in "\n\t"), None)
    if lost is not None:
        raise ImmuneError(
            f"the system message of the chat template holds U+{ord(lost):04X}, which Ollama takes "
            "out of a Modelfile: write the message without it, and train again"
        )
    return f'"""{text}"""'
