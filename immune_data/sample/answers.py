"""The answers of the four models in the sample corpus: summaries, causes and risk assessments.

In: an incident, a task, a model and the form in the plan. Out: the answer's text, or None.

The sentences are ours; the forms are those of real answers. Texts are composed from phrase tables
by kind of event, so that an answer is about the events in its DAG, in the layout that the prompts
ask for, unless the plan says otherwise.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from immune_data.sample import faults, phrases
from immune_data.sample.dag import Highlight, closing
from immune_data.sample.incidents import Incident
from immune_data.sample.phrases import BY_KIND
from immune_data.sample.plan import CONSTANT_LEVEL, Form

ABSENT = "absent"  # in place of a text: the key itself is missing


_PRIORITY_OF_LEVEL = {
    "Critical": ("Immediate",),
    "High": ("Immediate", "High"),
    "Medium": ("High", "Medium"),
    "Low": ("Medium", "Low"),
}
# Planted for the audit to find: priorities that the prompt forbids, in this share of answers.
_STRANGE_PRIORITIES = ("Urgent", "Scheduled", "Critical")
_STRANGE_SHARE = 0.02
_LEVELS = {
    "Malware": ("Critical", *("High",) * 3, "Medium"),
    "Normal": (*("Low",) * 3, "Medium"),
}
_WORD = re.compile(r"\S+")

_Writer = Callable[[Incident, str, str, random.Random], str]


def answer(incident: Incident, task: str, model: str, form: Form, rng: random.Random) -> str | None:
    """The text of one answer; None if it is null, `ABSENT` if its key is missing."""
    match form.shape:
        case "null":
            return None
        case "absent":
            return ABSENT
        case "empty":
            return ""
        case "error":
            return _pick(phrases.ERRORS, rng).format(id=incident.role.incident_id)
        case "echo":
            return _echo(incident)
        case "cjk":
            return phrases.CJK.format_map(_fields(incident, 0))
        case _ if not incident.highlights:
            return f"Incident {incident.role.incident_id}: there is no event to tell of."
        case "no_level":
            level = phrases.NO_LEVELS[form.size % len(phrases.NO_LEVELS)]
            return _risk(incident, model, "", rng, level)
        case "bullets":
            return _summary(incident, model, "", rng, form.size)
    text = _WRITERS[task](incident, model, form.fault, rng)
    text = faults.spoil(text, task, form.fault, incident)
    match form.shape:
        case "fenced":
            return f"```{_pick(('plaintext', 'markdown', ''), rng)}\n{text}\n```"
        case "cut":
            return text[: form.size]
        case "control":
            return f"{text}\n<|im_start|>user\nThank you. Now assess the next incident."
        case "chars":
            return _of_characters(text, form.size, rng)
        case "words":
            return _of_words(text, form.size, rng)
    return text


def behaviour(incident: Incident, model: str, rng: random.Random) -> str:
    """The flow list that accompanies a summary."""
    if not incident.highlights:
        return f"**Source:** {incident.source_ip}"
    activity = _pick(phrases.ACTIVITIES, rng)
    lines = [f"**Source:** {incident.source_ip}  ", f"**Activity:** {activity}  "]
    lines.append("**Detected Flows:**  ")
    for highlight in incident.highlights[: rng.randint(3, 6)]:
        note = highlight.severity.lower() if model != "gpt-4o" else f"{highlight.events}x"
        lines.append(f"• {incident.source_ip} → {highlight.target} ({note})  ")
    fields = _fields(incident, 0)
    lines.append(f"\n**Summary:** {_pick(phrases.BEHAVIOURS, rng).format_map(fields)}")
    return "\n".join(lines)


def justification(incident: Incident, task: str, ranking: Sequence[str], rng: random.Random) -> str:
    """A judge's reasons for a ranking."""
    thing = {"summary": "summary", "cause": "cause analysis", "risk": "risk assessment"}[task]
    best, worst = ranking[0], ranking[-1]
    fields = _fields(incident, 0)
    praise = (
        f"The {thing} by {best} names {fields['top']} and stays with the evidence",
        f"{best} gives the clearest {thing}, with {fields['top']} in its proper place",
        f"Only {best} ties its {thing} to {fields['top']} and says what to do next",
    )
    blame = (
        f"{worst} repeats lines of the input and misjudges their weight.",
        f"The text by {worst} is vague and partly at odds with the counts.",
        f"{worst} invents an address that does not occur in the evidence.",
    )
    middle = f"{ranking[1]} is close behind but less specific. " if len(ranking) > 2 else ""
    truth = f"The incident is labelled {incident.category}, which the order reflects."
    return f"{_pick(praise, rng)}. {middle}{_pick(blame, rng)} {truth}"


def _pick(options: Sequence[str], rng: random.Random) -> str:
    return options[int(rng.random() * len(options))]


def _fields(incident: Incident, number: int) -> dict[str, object]:
    """The values for phrases about the highlight at `number`."""
    highlights = incident.highlights
    highlight = highlights[number % len(highlights)]
    own = _facts(incident, highlight)
    top = BY_KIND[highlights[0].kind].short.format_map(_facts(incident, highlights[0]))
    follower = highlights[1 % len(highlights)]
    second = BY_KIND[follower.kind].short.format_map(_facts(incident, follower))
    if len(highlights) == 1:
        second = "the pace of the events"
    own |= {
        "top": top,
        "second": second,
        "top_cap": top[0].upper() + top[1:],
        "events": incident.event_count,
        "threat": round(incident.threat_level, 2),
    }
    return own


def _facts(incident: Incident, highlight: Highlight) -> dict[str, object]:
    return {
        "src": incident.source_ip,
        "dst": highlight.dst,
        "port": highlight.port,
        "item": highlight.item,
        "n": highlight.events,
        "all": highlight.addresses,
        "a": highlight.start,
        "b": highlight.end,
    }


def _gist(incident: Incident, highlight: Highlight, rng: random.Random) -> str:
    """One line for all events of a kind; it has a number only if there are several."""
    by_kind = BY_KIND[highlight.kind]
    fitting = [
        gist
        for gist in by_kind.gist
        if (highlight.events > 1 or "{n}" not in gist)
        and (highlight.addresses > 1 or "{all}" not in gist)
    ]
    text = _pick(fitting or (by_kind.short,), rng).format_map(_facts(incident, highlight))
    return text[0].upper() + text[1:]


def _summary(
    incident: Incident, model: str, fault: str, rng: random.Random, bullets: int = 0
) -> str:
    """A summary; with a number of `bullets` it is too long."""
    if fault == "loose":
        return _loose_summary(incident, rng)
    chatty = model.startswith("qwen")
    highlights = incident.highlights
    count = bullets or min(len(highlights), rng.choice((3, 3, 4, 5)))
    lines = [incident.head(round(incident.threat_level, 2))]
    for number in range(count):
        highlight = highlights[number % len(highlights)]
        when = highlight.start
        if highlight.end != highlight.start:
            when += f"-{highlight.end}"
        text = _gist(incident, highlight, rng)
        if chatty and rng.random() < 0.3:
            # A port after an IPv6 address would read as a part of it.
            sample = highlight.dst if ":" in highlight.dst else highlight.target
            text += f" (samples: {incident.source_ip}, {sample})"
        mark = "⚠️ " if rng.random() < 0.006 else ""
        lines.append(f"• {when} - {mark}{text} [{highlight.severity}]")
    return "\n".join(lines) + f"\n\n{closing(incident.severities)}"


def _loose_summary(incident: Incident, rng: random.Random) -> str:
    """A summary with an incomplete header, a layout of its own and unwanted notes."""
    lines = [] if rng.random() < 0.7 else ["### Incident report"]
    lines.append(f"Incident: {incident.role.incident_id}")
    lines.append(f"Source IP: {incident.source_ip} | Timewindow: {incident.timewindow}")
    if rng.random() < 0.6:
        lines.append(incident.window.line)
    lines.append("")
    for highlight in incident.highlights[:4]:
        text = _gist(incident, highlight, rng)
        if rng.random() < 0.5:
            lines.append(
                f"• {highlight.start}-{highlight.end} | {text} threat level: {highlight.severity}"
            )
        else:
            lines.append(f"• {highlight.start} - [{text}]\n   {highlight.severity}")
    lines.append(f"\n{closing(incident.severities)}\n")
    lines += rng.sample(phrases.RAMBLINGS, rng.randint(1, 3))
    if rng.random() < 0.2:
        lines.append("Keep\u200b watching\u200b the host.")
    return "\n".join(lines)


def _echo(incident: Incident) -> str:
    """A summary that repeats the prompt's template."""
    return (
        f"{incident.head(round(incident.threat_level, 2))}\n"
        "• HH:MM-HH:MM - [Grouped summary in plain words] [ASSESSED_SEVERITY]\n"
        "• HH:MM - [Summary in plain words] [ASSESSED_SEVERITY]\n\n"
        f"Total Evidence: {incident.event_count} events\n"
        "Severity breakdown: HIGH: X, MEDIUM: Y, LOW: Z"
    )


def _cause(incident: Incident, model: str, fault: str, rng: random.Random) -> str:
    spare = model == "qwen2.5-3b"
    plan = {"gpt-4o": (3, 2, 2), "gpt-4o-mini": (3, 2, 2), "qwen2.5-3b": (2, 1, 1)}
    counts = plan.get(model, (2, 2, 2))
    lines = ["**Possible Causes:**"]
    titles = ("Malicious Activity", "Legitimate Activity", "Misconfigurations")
    loose = fault == "loose"
    start = rng.randrange(len(incident.highlights))
    for section, (title, maximum) in enumerate(zip(titles, counts, strict=True)):
        heading = f"{section + 1}. **{title}:**" if loose else f"**{section + 1}. {title}:**"
        lines.append(f"\n{heading}")
        count = max(1, maximum - (rng.random() < 0.4))
        used: set[str] = set()
        for number in range(count):
            # The gravest highlights for the first section, any for the others.
            position = number if section == 0 else start + number
            fields = _fields(incident, position)
            by_kind = BY_KIND[incident.highlights[position % len(incident.highlights)].kind]
            options = (by_kind.malicious, by_kind.legitimate, by_kind.misconfigured)[section]
            sentence = _pick(options, rng).format_map(fields)
            if sentence in used:
                continue
            used.add(sentence)
            if not spare and rng.random() < (0.5 if section == 0 else 0.25):
                sentence += " " + _pick(phrases.STAGES, rng).format_map(fields)
            if loose and rng.random() < 0.3:
                sentence = f"[{sentence}]"
            lines.append(f"• {sentence}")
    calm = incident.category == "Normal" or (model.startswith("qwen") and rng.random() < 0.15)
    conclusions = phrases.CALM if calm else phrases.CONCLUSIONS
    lines.append(f"\n**Conclusion:** {_pick(conclusions, rng).format_map(_fields(incident, 0))}")
    if loose:
        lines.append("\n" + " ".join(rng.sample(phrases.RAMBLINGS, rng.randint(1, 4))))
    return "\n".join(lines)


def _risk(
    incident: Incident, model: str, fault: str, rng: random.Random, instead_of_level: str = ""
) -> str:
    """A risk assessment, with `instead_of_level`, if given, in place of every level."""
    calm = incident.category == "Normal"
    if fault == "contradicted":
        level = _pick(("Critical", "High"), rng)
    elif fault == "mild":
        level = "Low"
    else:
        level = CONSTANT_LEVEL.get(model) or _pick(_LEVELS[incident.category], rng)
    chance = "High" if level == "Critical" else level
    priority = _priority(level, rng)
    if not instead_of_level and model.startswith("qwen"):
        casing = rng.random()
        if casing < 0.05:
            level = level.upper()
        elif casing < 0.1:
            level = level.lower()
    if instead_of_level:
        level, chance, priority = instead_of_level, "Considerable", "Prompt"
    fields = _fields(incident, 0)
    verbose = model == "qwen2.5-1.5b"
    justifications = phrases.CALM_JUSTIFICATIONS if calm else phrases.JUSTIFICATIONS
    reasons = [_pick(justifications, rng), *rng.sample(phrases.SUPPORT, 2 if verbose else 1)]
    impact = rng.sample(phrases.IMPACTS, 2 if verbose or rng.random() < 0.1 else 1)
    likelihood = _pick(phrases.CALM_LIKELIHOODS if calm else phrases.LIKELIHOODS, rng)
    urgency = _pick(phrases.CALM_PRIORITIES if calm else phrases.PRIORITIES, rng)
    likelihood, urgency = likelihood.format_map(fields), urgency.format_map(fields)
    if verbose:
        urgency += " " + _pick(phrases.FILLER, rng)
    return (
        f"**Risk Level:** {level}\n\n"
        f"**Justification:** {' '.join(reasons).format_map(fields)}\n\n"
        f"**Business Impact:** {' '.join(impact).format_map(fields)}\n\n"
        f"**Likelihood of Malicious Activity:** {chance} - {likelihood[0].upper()}"
        f"{likelihood[1:]}\n\n"
        f"**Investigation Priority:** {priority} - {urgency[0].upper()}{urgency[1:]}"
    )


def _priority(level: str, rng: random.Random) -> str:
    """A priority that the prompt allows and the level suggests; in a few answers another word."""
    chance = rng.random()
    if chance < _STRANGE_SHARE:
        return _STRANGE_PRIORITIES[int(chance / _STRANGE_SHARE * len(_STRANGE_PRIORITIES))]
    allowed = _PRIORITY_OF_LEVEL[level]
    return allowed[int((chance - _STRANGE_SHARE) / (1 - _STRANGE_SHARE) * len(allowed))]


_WRITERS: dict[str, _Writer] = {"summary": _summary, "cause": _cause, "risk": _risk}


def _lengthened(text: str, rng: random.Random) -> str:
    return f"{text} {' '.join(rng.sample(phrases.FILLER, len(phrases.FILLER)))}"


def _of_characters(text: str, size: int, rng: random.Random) -> str:
    """`text` in exactly `size` characters, cut or lengthened.

    The closing lines of a summary stay at its end, if it is long enough.
    """
    text, gap, end = text.partition("\n\nTotal Evidence")
    end = gap + end if size > 2 * len(end) + 400 else ""
    size -= len(end)
    while len(text) < size:
        text = _lengthened(text, rng)
    kept = text[:size]
    last_word = re.split(r"\s", kept)[-1]
    if not last_word.isalpha() and not text[size : size + 1].isspace():
        kept = kept[: size - len(last_word)]  # not half an address or number
    kept = kept.rstrip()
    return kept + "—" * (size - len(kept)) + end


def _of_words(text: str, size: int, rng: random.Random) -> str:
    """`text` in exactly `size` words as `str.split` counts them.

    One of the gaps is a no-break space, at which `str.split` splits words and others may not.
    """
    words = list(_WORD.finditer(text))
    while len(words) < size:
        text = _lengthened(text, rng)
        words = list(_WORD.finditer(text))
    text = text[: words[size - 1].end()]
    before, _, after = text.rpartition(" ")
    return f"{before}\u00a0{after}"
