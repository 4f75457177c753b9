"""Templates are filled in without a change to what is put in, and read strictly."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from corpus import facts
from hypothesis import given
from hypothesis import strategies as st

from immune_data import prompts, recipes
from immune_data.common.errors import ImmuneError
from immune_data.prompts import Message, Prompt

PLACEHOLDERS = (*prompts.FACTS, "evidence")
SHIPPED = recipes.load("unified-v2").prompts_folder

awkward = st.lists(
    st.sampled_from(
        ["{", "}", "{{", "}}", "{}", "{0}", "{x}", "$", "$0", "${a}", "\\", "\\1", "\\g<0>", "%s"]
        + [f"{{{name}}}" for name in PLACEHOLDERS]
        + ["\n", "a", "é", "🦙", "{evidence!r}", "{ evidence }", "{EVIDENCE}"]
    ),
    max_size=12,
).map("".join)


def write(folder: Path, **texts: str | bytes) -> Path:
    """A folder of prompts: `cause_user="…"` is `cause.user.txt`."""
    folder.mkdir(exist_ok=True)
    content: dict[str, str | bytes] = {
        f"{task}_user": f"The {task} of {{evidence}}\n" for task in prompts.TASKS
    }
    for name, text in (content | texts).items():
        path = folder / f"{name.replace('_', '.')}.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


# Rendering


def test_every_placeholder_is_filled_in_wherever_it_stands() -> None:
    template = " ".join(f"{{{name}}}" for name in PLACEHOLDERS) + " {source_ip}"
    (message,) = Prompt("cause", (("user", template),)).render(facts(), "the evidence")
    expected = " ".join(f"<{name}>" for name in prompts.FACTS) + " the evidence <source_ip>"
    assert message == Message("user", expected)


@given(value=awkward, evidence=awkward)
def test_values_are_put_in_as_they_are(value: str, evidence: str) -> None:
    prompt = Prompt("cause", (("system", "{timeline}"), ("user", "[{timewindow}|{evidence}]")))
    rendered = prompt.render(facts(timeline=value, timewindow=value), evidence)
    assert rendered == [Message("system", value), Message("user", f"[{value}|{evidence}]")]


def test_a_placeholder_inside_a_value_is_only_text() -> None:
    prompt = Prompt("risk", (("user", "{source_ip}: {evidence}"),))
    (message,) = prompt.render(facts(source_ip="{evidence}"), "{source_ip} {incident_id}")
    assert message.content == "{evidence}: {source_ip} {incident_id}"


@given(awkward)
def test_other_braces_of_a_template_stay(template: str) -> None:
    template = re.sub(r"\{(" + "|".join(PLACEHOLDERS) + r")\}", "-", template)
    (message,) = Prompt("risk", (("user", f"{template}{{evidence}}"),)).render(facts(), "E")
    assert message.content == f"{template}E"


def test_facts_are_text_and_a_missing_one_is_unknown() -> None:
    assert prompts.facts("id", "10.0.0.7", "3", "a to b", 12, 15) == {
        "incident_id": "id",
        "source_ip": "10.0.0.7",
        "timewindow": "3",
        "timeline": "a to b",
        "threat_level": "12.00",
        "event_count": "15",
    }
    assert prompts.facts("id", None, None, None, None, None) == {
        "incident_id": "id",
        **dict.fromkeys(prompts.FACTS[1:], "unknown"),
    }
    zero = prompts.facts("id", "", "", "", 0, 0)
    assert (zero["threat_level"], zero["event_count"], zero["source_ip"]) == ("0.00", "0", "")


# Loading


def test_the_shipped_prompts_speak_in_the_documented_roles() -> None:
    loaded = prompts.load(SHIPPED)
    assert tuple(loaded) == prompts.TASKS
    roles = {task: [role for role, _ in prompt.templates] for task, prompt in loaded.items()}
    assert roles == {"summary": ["system", "user"], "cause": ["user"], "risk": ["user"]}


def test_the_shipped_prompts_hold_what_the_tasks_ask_for() -> None:
    text = {
        task: "\n".join(message.content for message in prompt.render(facts(), "THE EVIDENCE"))
        for task, prompt in prompts.load(SHIPPED).items()
    }
    for found in text.values():
        assert found.count("THE EVIDENCE") == 1
        assert not re.search(r"\{[a-z_]+\}", found)
    for level in ("CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO"):
        assert level in text["summary"]
    for heading in ("Malicious Activity", "Legitimate Activity", "Misconfigurations"):
        assert heading in text["cause"]
    assert "Conclusion" in text["cause"]
    for field in ("Risk Level", "Justification", "Business Impact", "Likelihood", "Priority"):
        assert field in text["risk"]
    for task in ("cause", "risk"):
        for name in prompts.FACTS:
            assert f"<{name}>" in text[task]
    (_, user) = prompts.load(SHIPPED)["summary"].render(facts(), "THE EVIDENCE")
    assert user == Message("user", "THE EVIDENCE")


def test_one_final_newline_is_dropped_and_the_rest_stays(tmp_path: Path) -> None:
    folder = write(tmp_path, cause_user=" {evidence}\r\n\n\n", risk_user="{evidence}")
    loaded = prompts.load(folder)
    assert loaded["cause"].templates == (("user", " {evidence}\n\n"),)
    assert loaded["risk"].templates == (("user", "{evidence}"),)


def test_a_system_prompt_comes_first_and_may_hold_the_evidence(tmp_path: Path) -> None:
    folder = write(tmp_path, risk_system="On {evidence}", risk_user="Answer about {incident_id}.")
    assert prompts.load(folder)["risk"].render(facts(), "E") == [
        Message("system", "On E"),
        Message("user", "Answer about <incident_id>."),
    ]


def test_other_files_in_the_folder_do_not_matter(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "README.md").write_text("my prompts")
    assert [path.name for path in prompts.files(folder)] == [
        "cause.user.txt",
        "risk.user.txt",
        "summary.user.txt",
    ]
    assert set(prompts.load(folder)) == set(prompts.TASKS)


# Errors


def complaint(folder: Path) -> str:
    with pytest.raises(ImmuneError) as caught:
        prompts.load(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def test_a_missing_folder(tmp_path: Path) -> None:
    assert complaint(tmp_path / "none").endswith("does not exist")


@pytest.mark.parametrize("task", prompts.TASKS)
def test_a_missing_user_prompt(task: str, tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / f"{task}.user.txt").rename(folder / f"{task}.system.txt")
    assert f"has no {task}.user.txt" in complaint(folder)


@pytest.mark.parametrize("name", ["summary.txt", "Cause.user.txt", "risk.assistant.txt", "x.txt"])
def test_a_wrong_name(name: str, tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / name).write_text("{evidence}")
    message = complaint(folder)
    assert message.startswith(f"{folder / name} is not a prompt")
    assert "cause.user.txt" in message


@pytest.mark.parametrize(
    "texts",
    [
        {"cause_user": "nothing"},
        {"cause_user": "{evidence} and {evidence}"},
        {"cause_user": "{evidence}", "cause_system": "{evidence}"},
        {"cause_user": "{Evidence}"},
        {"cause_user": ""},
    ],
)
def test_the_evidence_not_exactly_once(texts: dict[str, str], tmp_path: Path) -> None:
    message = complaint(write(tmp_path, **texts))
    assert "task cause" in message
    assert "{evidence} exactly once" in message


def test_not_utf_8(tmp_path: Path) -> None:
    message = complaint(write(tmp_path, risk_user="{evidence} é".encode("latin-1")))
    assert message.endswith("risk.user.txt is not UTF-8 (byte 11): save it as UTF-8")
