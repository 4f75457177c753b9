"""Ollama's `Modelfile`: a GGUF file and a chat template in, settings to run it as trained out.

The template is translated to Go's template language, which Ollama reads; its newer versions may use
the GGUF file's own Jinja template instead. A test compares the token ids of both on every task's
prompt. Only ChatML templates are supported.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from immune_data.common.errors import ImmuneError

START, END, END_OF_TEXT = "<|im_start|>", "<|im_end|>", "<|endoftext|>"

# Ollama puts the SYSTEM message before the messages of a request without a system message.
TEMPLATE = (
    "{{- range .Messages }}" + START + "{{ .Role }}\n{{ .Content }}" + END + "\n"
    "{{ end }}" + START + "assistant\n"
)


@dataclass(frozen=True)
class Settings:
    """Settings of a model: the context it was trained with, and the system message that its chat
    template adds to a conversation without one."""

    context: int
    system: str | None

    def parameters(self) -> dict[str, Any]:
        """Ollama's parameters by name.

        Greedy and without Ollama's default penalty on repetition, because answers must repeat
        addresses and counts.
        """
        return {
            "num_ctx": self.context,
            "temperature": 0,
            "repeat_penalty": 1.0,
            "stop": [END, END_OF_TEXT],
        }


def render(name: str, file: str, other_files: list[str], settings: Settings) -> str:
    """The text of a Modelfile next to `file`."""
    lines = [
        f"# {name}, as immune_train.export wrote it:",
        f"#   ollama create {name.lower()} -f Modelfile && ollama run {name.lower()}",
    ]
    if other_files:
        lines.append(f"# The other files here are the same model: {', '.join(other_files)}")
    lines += ["", f"FROM ./{file}", ""]
    for key, value in settings.parameters().items():
        for item in value if isinstance(value, list) else [value]:
            lines.append(f"PARAMETER {key} {json.dumps(item)}")
    lines += ["", f"TEMPLATE {_quoted(TEMPLATE)}"]
    if settings.system is not None:
        lines += ["", f"SYSTEM {_quoted(settings.system)}"]
    return "\n".join(lines) + "\n"


def default_system(template: str) -> str | None:
    """The system message that a Jinja chat template adds to a conversation without one.

    Raises:
        ImmuneError: the template is not ChatML, the only one that `TEMPLATE` covers.
    """
    with_system = _render(template, [("system", "a"), ("user", "b")])
    without_system = _render(template, [("user", "b")])
    prompt = f"{START}user\nb{END}\n{START}assistant\n"
    opening, closing = f"{START}system\n", f"{END}\n"
    if with_system == f"{opening}a{closing}{prompt}":
        if without_system == prompt:
            return None
        if without_system.startswith(opening) and without_system.endswith(closing + prompt):
            return without_system[len(opening) : -len(closing + prompt)]
    raise ImmuneError(
        "the model's chat template is not Qwen2.5's ChatML: an Ollama Modelfile cannot be written "
        "for it"
    )


def _render(template: str, messages: list[tuple[str, str]]) -> str:
    """Messages rendered with a chat template, as `transformers` does."""
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
        raise ImmuneError('a system message that contains """ cannot be put into a Modelfile')
    # Ollama's parser silently drops what Go does not print, such as a no-break space.
    unprintable = next(
        (
            character
            for character in text
            if not character.isprintable() and character not in "\n\t"
        ),
        None,
    )
    if unprintable is not None:
        raise ImmuneError(
            f"the system message of the chat template contains U+{ord(unprintable):04X}, which "
            "Ollama drops from a Modelfile: write the message without it, and train again"
        )
    return f'"""{text}"""'
