"""Faults in answers of the sample corpus, planted for the audit to find.

In: a sound answer and the name of a fault, as `plan.planted` lists them. Out: the answer with it.

For a fault in `UNSHOWN`, the answer names something of that kind that is not in its evidence: in an
event of a summary, a malicious cause, or the reasons for a risk level. A summary may give an event
a severity that no event has (`severity`), or another number than its evidence in either closing
line (`event_total`, `breakdown`), end in a line of `====` (`rules`), or contain a threat level with
rounding errors (`noise`). Faults that change how an answer is written are in answers.py: a risk
that contradicts its incident's category (`contradicted`: a Normal one is High or Critical; `mild`:
a Malware one is Low), and an answer that does not follow its prompt's layout (`loose`).
"""

from __future__ import annotations

from immune_data.sample.dag import HEADER_LINE, closing
from immune_data.sample.incidents import Incident
from immune_data.sample.kinds import SEVERITIES

# None of these is in any evidence of the sample.
_UNSHOWN = {
    "address": "Contact with 100.64.13.37 stands out",
    "network": "Many of the addresses belong to 100.64.96.0/20",
    "port": "Sessions on port 65535 stand out",
    "domain": "The name c2-panel.example.org was looked up",
    "mac": "The device with MAC address 02:00:5e:10:00:ff takes part",
    "hash": "A file with MD5 9e107d9d372bb6826bd81d3542a419d6 was fetched",
    "list_id": "One address is listed as SBL999999",
    "time": "The traffic is at its height at {time}",
}
_HOURS_LATER = 9 * 60  # in minutes: after every event of the window


def spoil(text: str, task: str, fault: str, incident: Incident) -> str:
    """A sound answer with a fault."""
    if fault in _UNSHOWN:
        time = incident.window.clock(_HOURS_LATER)
        return _with_sentence(text, task, _UNSHOWN[fault].format(time=time), incident)
    counts = incident.severities
    match fault:
        case "severity":
            absent = next(name for name in SEVERITIES if name not in dict(counts))
            head, _, tail = text.rpartition(f"[{incident.highlights[0].severity}]")
            return f"{head}[{absent}]{tail}"
        case "event_total":
            correct_line = f"Total Evidence: {incident.event_count} "
            return text.replace(correct_line, f"Total Evidence: {incident.event_count + 7} ")
        case "breakdown":
            (name, count), *others = counts
            wrong_line = closing([(name, count + 3), *others]).split("\n")[1]
            return text.replace(closing(counts).split("\n")[1], wrong_line)
        case "rules":
            return f"{text}\n{HEADER_LINE}"
        case "noise":
            level = f"Threat Level: {round(incident.threat_level, 2)}"
            return text.replace(level, f"Threat Level: {incident.threat_level:.2f}0000000000005")
    return text


def _with_sentence(text: str, task: str, sentence: str, incident: Incident) -> str:
    first = incident.highlights[0]
    addition, place = {
        "summary": (f"\n• {first.start} - {sentence} [{first.severity}]", "\n\nTotal Evidence"),
        "cause": (f"\n• {sentence}.", "\n\n**2."),
        "risk": (f" {sentence}.", "\n\n**Business Impact"),
    }[task]
    return text.replace(place, addition + place, 1)
