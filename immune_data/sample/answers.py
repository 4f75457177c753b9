"""What the four models of the sample corpus wrote: summaries, causes and risk assessments.

In: an incident, a task, a model and the form the plan asks for. Out: the answer's text, or None.

Every sentence is ours; the shapes are those of real answers. Texts are put together from phrase
tables by kind of event, so that an answer speaks of what its DAG shows.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from immune_data.sample.dag import SEVERITIES, Highlight, Incident
from immune_data.sample.plan import Form

ABSENT = "absent"  # in place of a text: the key itself is missing


@dataclass(frozen=True, slots=True)
class _Phrases:
    """What can be said of one kind of event.

    In all of them the words critical, high, medium and low are left to the slots that mean a
    level, so that an answer without a level has none.
    """

    gist: tuple[str, ...]
    short: str
    malicious: tuple[str, ...]
    legitimate: tuple[str, ...]
    misconfigured: tuple[str, ...]


_PHRASES = {
    "sweep": _Phrases(
        (
            "Port {port}/TCP swept across many hosts in {n} bursts",
            "{src} walks through address space on port {port}, {n} sweeps in all",
            "Horizontal sweep for open {port}/TCP, repeated {n} times",
        ),
        "a horizontal sweep of port {port}/TCP",
        (
            "The sweep of port {port}/TCP looks like reconnaissance ahead of lateral movement.",
            "A worm or bot searching for its next victims on port {port} would leave this trace.",
            "Sweeping many hosts within minutes points to an automated search for open services.",
        ),
        (
            "An inventory or vulnerability scanner on {src} may have run its scheduled job.",
            "A network team mapping services could have started the sweep on purpose.",
        ),
        (
            "A monitoring agent with too wide a target range would probe all those hosts.",
            "Missing egress filtering lets one workstation reach any host on port {port}.",
        ),
    ),
    "command": _Phrases(
        (
            "Regular check-ins with {dst} on port {port}, {n} seen",
            "Beacon-like traffic to suspected controller {dst}",
        ),
        "regular check-ins with {dst}",
        (
            "Evenly spaced check-ins with {dst} are typical of an implant asking for orders.",
            "The rhythm of the sessions with {dst} fits a command channel rather than a user.",
        ),
        (
            "A licence or update client polling {dst} on a timer would show the same rhythm.",
            "Remote support software may keep a session with {dst} alive by design.",
        ),
        (
            "A health check left pointing at {dst} after a migration may still be running.",
            "An agent that lost its server list can fall back to a fixed address such as {dst}.",
        ),
    ),
    "vertical": _Phrases(
        (
            "Many TCP ports of {dst} probed one after another",
            "Vertical sweep of {dst} by {src}, {n} rounds",
        ),
        "a vertical sweep of {dst}",
        (
            "Probing port after port of {dst} suggests a search for a service to exploit.",
            "The vertical sweep singles out {dst}, which an intruder does once a target is chosen.",
        ),
        (
            "A penetration test with {dst} in scope would look exactly like this.",
            "Administrators verifying firewall rules of {dst} may have probed its ports.",
        ),
        (
            "A discovery module left in its most thorough mode probes every port of {dst}.",
            "A load balancer that guesses backend ports can produce such a series.",
        ),
    ),
    "guess": _Phrases(
        (
            "SSH log-ins to {dst} fail over and over, {n} series",
            "Password guessing against the SSH service of {dst}",
        ),
        "repeated SSH log-in failures on {dst}",
        (
            "Failed SSH log-ins in such number are a guessing attack on the accounts of {dst}.",
            "Someone holding a list of stolen passwords may be trying them on {dst}.",
        ),
        (
            "A user with an expired key and a retrying script would fail just as often.",
            "A backup job whose credentials were rotated keeps knocking until someone notices.",
        ),
        (
            "An automation account still carries an old password for {dst}.",
            "Key exchange between {src} and {dst} may be broken after an upgrade.",
        ),
    ),
    "rare_port": _Phrases(
        (
            "Sessions to {dst} on the unassigned port {port}/TCP, {n} in all",
            "{n} connections to port {port}/TCP, which no known service uses, {dst} among them",
            "Traffic to unassigned port {port} of {dst} and {more} further endpoints",
        ),
        "sessions on the unassigned port {port}/TCP",
        (
            "Port {port}/TCP has no registered service; malware likes such ports.",
            "Contact with {dst} on port {port} may be an infected host reporting to its operator.",
            "Odd ports with ever new peers fit a peer-to-peer botnet; {dst} may be one.",
        ),
        (
            "In-house or vendor software may simply listen on port {port}.",
            "A file-sharing or conferencing client picks ports like {port} on its own.",
        ),
        (
            "A service moved to port {port} without an entry in the asset list.",
            "Outbound rules that allow any port hide which of these sessions were meant to exist.",
        ),
    ),
    "plain_tls": _Phrases(
        (
            "Port 443 of {dst} used without TLS, {n} sessions",
            "{n} plain-text sessions where TLS is expected, one with {dst}",
        ),
        "plain-text sessions on port 443",
        (
            "Plain text on port 443 is an old way to slip a private protocol past a firewall.",
            "The sessions with {dst} may carry stolen data dressed up as web traffic.",
        ),
        (
            "Some streaming and messaging clients speak their own protocol on port 443.",
            "A probe for captive portals opens port 443 and never starts TLS.",
        ),
        (
            "A proxy that strips TLS before the sensor would make good traffic look plain.",
            "The server at {dst} may offer the wrong service on port 443.",
        ),
    ),
    "retries": _Phrases(
        (
            "{src} keeps trying to reach {dst}, {n} series of retries",
            "Repeated reconnection attempts towards {dst} without success",
        ),
        "repeated reconnection attempts to {dst}",
        (
            "Stubborn retries towards {dst} fit an implant whose controller is down.",
            "The retries may be an exploit that fails and starts over.",
        ),
        (
            "A client whose server at {dst} is under maintenance retries in the same way.",
            "Sync software with a short timeout reconnects like this on a poor link.",
        ),
        (
            "A stale address in some configuration still points to {dst}.",
            "A firewall that drops answers from {dst} would force these retries.",
        ),
    ),
    "domain": _Phrases(
        (
            "DNS answers for the recently registered name {dst}",
            "Recently registered name {dst} looked up {n} times",
        ),
        "look-ups of the young name {dst}",
        (
            "Names as young as {dst} are often bought for phishing or for one campaign.",
            "Malware that generates names would ask for hosts such as {dst}.",
        ),
        (
            "A product launch or an event page can bring a young name like {dst}.",
            "Content networks rotate host names, and {dst} may be one of theirs.",
        ),
        (
            "A typing error in a bookmark or script may have led to {dst}.",
            "The resolver does not filter recently registered names at all.",
        ),
    ),
    "upload": _Phrases(
        (
            "Large upload from {src} to {dst}",
            "{n} uploads towards {dst} on port {port}",
        ),
        "a large upload to {dst}",
        (
            "The upload to {dst} may be collected files on their way out.",
            "Volume and direction of the traffic to {dst} fit data theft.",
        ),
        (
            "An off-site backup of {src} would upload about as much.",
            "A user may have shared recordings or images with a partner at {dst}.",
        ),
        (
            "A log shipper without rotation sends its whole history again and again.",
            "A backup target was set to the public address {dst} instead of the internal one.",
        ),
    ),
    "odd_http": _Phrases(
        (
            "Port 80 of {dst} used for something other than HTTP, {n} sessions",
            "{n} sessions on port 80 that speak no HTTP, {dst} among the peers",
        ),
        "non-HTTP sessions on port 80",
        (
            "A protocol other than HTTP on port 80 suggests tunnelling through a permitted port.",
            "Bots often open raw sessions on port 80, as seen with {dst}.",
        ),
        (
            "Some games and telemetry clients use port 80 because it is rarely blocked.",
            "Half-open web sessions that never sent a request are counted here too.",
        ),
        (
            "A service was bound to port 80 by mistake and now answers in its own protocol.",
            "A middlebox that resets requests early leaves sessions without HTTP.",
        ),
    ),
    "listed": _Phrases(
        (
            "Contact with {dst} and {more} more addresses from a block list",
            "{n} contacts with listed addresses, for example {dst}",
        ),
        "contact with listed addresses",
        (
            "Several listed addresses, {dst} among them, hint at hosting that serves malware.",
            "An infected host calling known bad infrastructure would reach {dst}.",
        ),
        (
            "Shared hosting puts harmless sites behind listed addresses such as {dst}.",
            "A security product may contact listed hosts in order to grade them.",
        ),
        (
            "The block list is applied on the sensor but not on the gateway.",
            "An outdated list may still carry {dst} after it changed hands.",
        ),
    ),
    "certificate": _Phrases(
        (
            "Self-signed certificate presented by {dst}",
            "{n} sessions rest on a self-signed certificate, {dst} for one",
        ),
        "a self-signed certificate at {dst}",
        (
            "A self-signed certificate at {dst} may hide an interception in the middle.",
            "Control servers are often set up with a certificate that nobody signed.",
        ),
        (
            "Printers, cameras and storage boxes ship with self-signed certificates.",
            "A test system at {dst} may never have received a proper certificate.",
        ),
        (
            "The internal authority that should sign {dst} is not in use there.",
            "Renewal failed and the server fell back to its built-in certificate.",
        ),
    ),
    "model": _Phrases(
        (
            "Flow model finds sessions with {dst} suspicious",
            "{n} flows to {dst} marked by the flow model",
        ),
        "flows that the model marks as malicious",
        (
            "The flow model has seen patterns like those towards {dst} in malware before.",
            "Taken with the rest, the marked flows to {dst} support an infection.",
        ),
        (
            "The model errs on rare but harmless software, which may be all there is here.",
            "Bulk transfers resemble the patterns on which the model was trained.",
        ),
        (
            "The model's threshold may be too eager for this network.",
            "Sampling on the sensor distorts flows, and the model judges what is left.",
        ),
    ),
    "private": _Phrases(
        (
            "{n} contacts with private addresses, {dst} among them",
            "Private address range probed from {src}, e.g. {dst}",
        ),
        "contacts with private addresses",
        (
            "Reaching for private hosts such as {dst} may be the first step of lateral movement.",
            "An intruder on {src} would look around the inner network in this way.",
        ),
        (
            "Internal services on private addresses are what a workstation uses all day.",
            "File shares and printers explain most contacts with private addresses.",
        ),
        (
            "Routes to private ranges that no longer exist send traffic into the void.",
            "Segmentation between {src} and hosts such as {dst} is missing.",
        ),
    ),
    "no_dns": _Phrases(
        (
            "{n} direct connections without a DNS answer, most of them to {dst}",
            "{dst} and others reached by address alone, {n} times",
        ),
        "connections made without DNS",
        (
            "Addresses built into a program, as {dst} seems to be, are common in malware.",
            "Skipping DNS keeps the sessions out of resolver logs, which an attacker may want.",
        ),
        (
            "Content networks and peer-to-peer clients hand out addresses without DNS.",
            "The answer for {dst} may have been cached before the window began.",
        ),
        (
            "Clients using encrypted DNS elsewhere appear here as if they asked nobody.",
            "Resolver traffic bypasses the sensor, so the look-ups are not seen.",
        ),
    ),
    "clear_http": _Phrases(
        (
            "Unencrypted HTTP with {dst}, {n} requests",
            "{n} requests travel unencrypted, some to {dst}",
        ),
        "unencrypted HTTP",
        (
            "Loaders fetch their next stage over plain HTTP, which {dst} could be serving.",
            "Credentials sent unencrypted to {dst} could be read on the way.",
        ),
        (
            "Package mirrors and certificate status services still use plain HTTP.",
            "Old devices fetch firmware from {dst} without encryption.",
        ),
        (
            "A redirect to HTTPS is missing on {dst}.",
            "A legacy application on {src} was never moved to HTTPS.",
        ),
    ),
}
_STAGES = (
    "The timing between {a} and {b} supports this reading.",
    "All of it falls between {a} and {b}.",
    "With {events} events in one hour this is hard to call an accident.",
    "Events of this kind in the window: {n}.",
    "Nothing in the evidence contradicts it.",
    "A second source would be needed to be sure.",
    "No payload was captured, so this remains an inference.",
)
_CONCLUSIONS = (
    "Malicious activity is the most likely cause, above all because of {top}. {src} should be "
    "taken off the network and examined; its outbound sessions of the last days deserve a review.",
    "The evidence leans towards a compromised host. Most weight lies on {top}, while {second} "
    "could still have a harmless origin. Check processes and start-up entries on {src} first.",
    "A mix of malicious activity and weak configuration explains the window best. Confirm with "
    "the owner of {src} whether any of it was planned, then close the ports concerned.",
    "No single cause is proven. Taken together, {top} and {second} make an infection more "
    "probable than a mistake, so that capturing traffic of {src} is the sensible next step.",
    "Given {events} events, with {top} at their head, an automated tool is at work. Whether it "
    "belongs to an attacker can be settled by comparing it with the change calendar.",
)
_CALM = (
    "Legitimate activity is the most likely cause: nothing here goes beyond what clients of this "
    "kind do. {top_cap} should be explained once and then be allowed.",
    "The window looks harmless. There is an everyday explanation for {top}, and a look at the "
    "settings of {src} will probably confirm it.",
)
_JUSTIFICATIONS = (
    "The window holds {top} and {second}, a combination that rarely has an innocent origin.",
    "To see {top} within one hour, among {events} events, goes beyond normal use of {src}.",
    "The accumulated threat score of {threat} rests mainly on {top}, with {second} in support.",
    "{src} shows {top}; with {second} besides, a coincidence is less plausible.",
    "Several independent detections agree: {top}, then {second}, all from one source.",
)
_SUPPORT = (
    "No successful exploitation was recorded.",
    "The detections carry a confidence close to 1.",
    "Most of the events repeat one pattern.",
    "The destinations have no common owner.",
    "The activity did not stop before the window ended.",
    "Other hosts of the segment stayed quiet.",
    "It is not known which process opened the sessions.",
)
_IMPACTS = (
    "Customer records reachable from {src} could leave the company unnoticed.",
    "If the host is under foreign control, neighbouring systems and shared files are exposed.",
    "Services that depend on {src} may fail or have to be shut down for the clean-up.",
    "Beyond the clean-up itself, the address range of the company may end up on block lists.",
    "Stolen credentials would give an intruder a way back after the host is rebuilt.",
    "Little beyond the time of an analyst, unless the sessions carried confidential data.",
)
_LIKELIHOODS = (
    "there is seldom another explanation for {second}.",
    "the mix of {top} and {second} fits known campaigns.",
    "the evidence is consistent, although no payload was seen.",
    "benign software could produce a part of it, hardly all.",
    "a single strong indicator is missing, the sum of the weak ones is not.",
)
_PRIORITIES = (
    "every further hour gives an intruder time to spread.",
    "{src} should be isolated before its memory is lost.",
    "the owner of {src} can answer the open questions today.",
    "a look at proxy and DNS logs will confirm or clear it quickly.",
    "it can wait for the next shift if the host is watched meanwhile.",
)
_ACTIVITIES = (
    "Reconnaissance and connection attempts",
    "Outbound sessions to unusual endpoints",
    "Suspected control traffic",
    "Sweeping and probing of neighbours",
    "Mixed traffic with several anomalies",
)
_BEHAVIOURS = (
    "{src} shows {top} together with {second}, which points to an automated program.",
    "Within the window {src} was busy with {top}; {second} came on top of it.",
    "The source alternates between {top} and {second} without any sign of a user.",
)
_RAMBLINGS = (
    "Please note that the severities above were assigned from the list of events alone.",
    "This assessment groups the events by what they seem to want and not by their time.",
    "Further monitoring of the network is needed to find out what the anomalies mean.",
    "Overall the incident indicates active behaviour that must be looked into by the team.",
    "The groups can overlap, since one flow may be reported by more than one module.",
    "It is recommended to update all the systems and to verify the rules of the firewall.",
    "As there is no confirmation of exploitation, the severity reflects potential only.",
    "The source address belongs to a private range and may stand for several devices.",
)
# For texts of an exact length: sentences that say little, at any place, as long answers do.
_FILLER = (
    "Analysts should correlate these observations with endpoint telemetry from the same hour.",
    "Comparable windows of the same host were quiet, which makes the change stand out.",
    "The destinations are spread over several ranges and share no visible purpose.",
    "It would help to know which account was logged in while the sessions were opened.",
    "Retention of the raw capture is advisable until the question is settled.",
    "Asset owners may be able to name software that explains a part of the traffic.",
    "A comparison with the previous week would show whether the volume is usual.",
    "Where address translation is in use, the true origin has to be looked up first.",
    "Each of these points can be checked without disturbing the people who use the host.",
    "None of this replaces an examination of the machine itself.",
)
_ERRORS = (
    "Incident {id}: LLM query failed - Connection reset.",
    "Incident {id}: LLM query failed - Request timed out.",
    "Incident {id}: LLM query failed - Error code: 503",
    "Incident {id}: LLM query failed - Quota exceeded.",
)
_CJK = (
    "**可能原因:**\n\n**1. 恶意活动:**\n"
    "• 主机 {src} 在一小时内产生了 {events} 个事件,大量连接指向 {dst},"
    "符合僵尸网络回连控制服务器的特征。\n"
    "• 连接使用了未登记的端口,说明流量可能来自自动化程序,而不是普通用户的操作。\n\n"
    "**2. 合法活动:**\n"
    "• 备份服务器或监控系统也可能按计划产生类似的连接,需要与资产负责人核实计划任务的时间。\n\n"
    "**3. 配置错误:**\n"
    "• 防火墙出站规则过于宽松,旧的服务地址没有从配置中删除,导致主机不断重试。\n\n"
    "**结论:** 最可能的原因是恶意活动,建议立即隔离该主机,保留内存和流量记录,"
    "并检查最近一周内的所有出站会话。"
)
# First lines of risk answers that name no level: none of these is a level word on its own.
_NO_LEVELS = (
    "Moderate",
    "Severe",
    "Highly elevated",
    "风险High级",
    "High_Risk",
    "Elevated (7 of 10)",
)
_PRIORITY_OF_LEVEL = {
    "Critical": ("Immediate",),
    "High": ("Immediate", "High"),
    "Medium": ("High", "Medium"),
    "Low": ("Medium", "Low"),
}
# Planted: what the prompt forbids, in so large a share of the answers, for the audit to find.
_STRANGE_PRIORITIES = ("Urgent", "Scheduled", "Critical")
_STRANGE_SHARE = 0.02
_LEVEL_WORDS = ("Critical", "High", "Medium", "Low")
_WORD = re.compile(r"\S+")

_Writer = Callable[[Incident, str, random.Random], str]


def answer(incident: Incident, task: str, model: str, form: Form, rng: random.Random) -> str | None:
    """The text of one answer, None where it is null, `ABSENT` where its key is missing."""
    match form.shape:
        case "null":
            return None
        case "absent":
            return ABSENT
        case "empty":
            return ""
        case "error":
            return _pick(_ERRORS, rng).format(id=incident.role.incident_id)
        case "echo":
            return _echo(incident)
        case "cjk":
            return _CJK.format_map(_fields(incident, 0))
        case "no_level":
            return _risk(incident, model, rng, _NO_LEVELS[form.size % len(_NO_LEVELS)])
        case "bullets":
            return _summary(incident, model, rng, form.size)
    text = _WRITERS[task](incident, model, rng)
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
    lines = [f"**Source:** {incident.source_ip}  ", f"**Activity:** {_pick(_ACTIVITIES, rng)}  "]
    lines.append("**Detected Flows:**  ")
    for highlight in incident.highlights[: rng.randint(3, 6)]:
        note = highlight.kind.severity.lower() if model != "gpt-4o" else f"{highlight.count}x"
        lines.append(f"• {incident.source_ip} → {highlight.target} ({note})  ")
    fields = _fields(incident, 0)
    lines.append(f"\n**Summary:** {_pick(_BEHAVIOURS, rng).format_map(fields)}")
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
    """What the phrases may speak of, with the highlight at `number` in the middle."""
    highlights = incident.highlights
    highlight = highlights[number % len(highlights)]
    own = _facts(incident, highlight)
    top = _PHRASES[highlights[0].kind.name].short.format_map(_facts(incident, highlights[0]))
    follower = highlights[1 % len(highlights)]
    second = _PHRASES[follower.kind.name].short.format_map(_facts(incident, follower))
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
        "dst": highlight.target.partition(":")[0],
        "port": highlight.port,
        "n": highlight.count,
        "more": max(1, highlight.events - 1),
        "a": highlight.start,
        "b": highlight.end,
    }


def _gist(incident: Incident, highlight: Highlight, rng: random.Random) -> str:
    """One line for all events of a kind, which counts nothing where there is but one."""
    phrases = _PHRASES[highlight.kind.name]
    fitting = [
        gist
        for gist in phrases.gist
        if (highlight.count > 1 or "{n}" not in gist)
        and (highlight.events > 1 or "{more}" not in gist)
    ]
    text = _pick(fitting or (phrases.short,), rng).format_map(_facts(incident, highlight))
    return text[0].upper() + text[1:]


def _totals(incident: Incident) -> str:
    counts = ", ".join(f"{name.capitalize()}: {count}" for name, count in incident.severities)
    return f"Total Evidence: {incident.event_count} events\nSeverity breakdown: {counts}"


def _summary(incident: Incident, model: str, rng: random.Random, bullets: int = 0) -> str:
    """A summary; `bullets` asks for that many, which makes it too long."""
    if model == "qwen2.5-1.5b":
        return _rambling_summary(incident, rng, bullets)
    chatty = model == "qwen2.5-3b"
    highlights = incident.highlights
    count = bullets or min(len(highlights), rng.choice((3, 3, 4, 5)))
    lines = [incident.head]
    for number in range(count):
        highlight = highlights[number % len(highlights)]
        when = highlight.start
        if highlight.end != highlight.start:
            when += f"-{highlight.end}"
        text = _gist(incident, highlight, rng)
        if chatty and rng.random() < 0.3:
            text += f" (samples: {highlight.target}, {incident.source_ip})"
        mark = "⚠️ " if rng.random() < 0.006 else ""
        severity = highlight.kind.severity
        if chatty and rng.random() < 0.25:
            severity = _pick(SEVERITIES, rng)
        lines.append(f"• {when} - {mark}{text} [{severity}]")
    lines.append("")
    lines.append(_totals(incident))
    return "\n".join(lines)


def _rambling_summary(incident: Incident, rng: random.Random, bullets: int) -> str:
    """The smallest model's summary: parts of the header, own layout, notes nobody asked for."""
    lines = [] if rng.random() < 0.7 else ["### Incident report"]
    lines.append(f"Incident: {incident.role.incident_id}")
    lines.append(f"Source IP: {incident.source_ip} | Timewindow: {incident.timewindow}")
    if rng.random() < 0.6:
        lines.append(f"Timeline: {incident.timeline}")
    lines.append("")
    highlights = incident.highlights
    for number in range(bullets or min(len(highlights), 4)):
        highlight = highlights[number % len(highlights)]
        text = _gist(incident, highlight, rng)
        severity = _pick(SEVERITIES, rng)
        if rng.random() < 0.5:
            lines.append(f"• {highlight.start}-{highlight.end} | {text} threat level: {severity}")
        else:
            lines.append(f"• {highlight.start} - [{text}]\n   {severity}")
    lines.append(f"\nTotal Evidence: {incident.event_count} events")
    wrong = ", ".join(f"{name}: {rng.randrange(40)}" for name in SEVERITIES[1:4])
    lines.append(f"Severity breakdown: {wrong}\n")
    lines += rng.sample(_RAMBLINGS, 2 if bullets else rng.randint(1, 3))
    if rng.random() < 0.02:
        lines.append("Keep\u200b watching\u200b the host.")
    return "\n".join(lines)


def _echo(incident: Incident) -> str:
    """A model that gave the prompt's template back."""
    return (
        f"{incident.head}\n"
        "• HH:MM-HH:MM - [Grouped summary in plain words] [ASSESSED_SEVERITY]\n"
        "• HH:MM - [Summary in plain words] [ASSESSED_SEVERITY]\n\n"
        f"Total Evidence: {incident.event_count} events\n"
        "Severity breakdown: HIGH: X, MEDIUM: Y, LOW: Z"
    )


def _cause(incident: Incident, model: str, rng: random.Random) -> str:
    spare = model == "qwen2.5-3b"
    plan = {"gpt-4o": (3, 2, 2), "gpt-4o-mini": (3, 2, 2), "qwen2.5-3b": (2, 1, 1)}
    counts = plan.get(model, (2, 2, 2))
    lines = ["**Possible Causes:**"]
    titles = ("Malicious Activity", "Legitimate Activity", "Misconfigurations")
    loose = model.startswith("qwen") and rng.random() < 0.3
    start = rng.randrange(len(incident.highlights))
    for section, (title, wanted) in enumerate(zip(titles, counts, strict=True)):
        heading = f"{section + 1}. **{title}:**" if loose else f"**{section + 1}. {title}:**"
        lines.append(f"\n{heading}")
        count = max(1, wanted - (rng.random() < 0.4))
        used: set[str] = set()
        for number in range(count):
            # The gravest highlights for the first section, any for the others.
            at = number if section == 0 else start + number
            fields = _fields(incident, at)
            phrases = _PHRASES[incident.highlights[at % len(incident.highlights)].kind.name]
            options = (phrases.malicious, phrases.legitimate, phrases.misconfigured)[section]
            sentence = _pick(options, rng).format_map(fields)
            if sentence in used:
                continue
            used.add(sentence)
            if not spare and rng.random() < (0.5 if section == 0 else 0.25):
                sentence += " " + _pick(_STAGES, rng).format_map(fields)
            if loose and rng.random() < 0.3:
                sentence = f"[{sentence}]"
            lines.append(f"• {sentence}")
    calm = incident.category == "Normal" or (model.startswith("qwen") and rng.random() < 0.15)
    conclusion = _pick(_CALM if calm else _CONCLUSIONS, rng).format_map(_fields(incident, 0))
    lines.append(f"\n**Conclusion:** {conclusion}")
    if model == "qwen2.5-1.5b":
        lines.append("\n" + " ".join(rng.sample(_RAMBLINGS, rng.randint(1, 4))))
    return "\n".join(lines)


def _risk(incident: Incident, model: str, rng: random.Random, instead_of_level: str = "") -> str:
    """A risk assessment; `instead_of_level` stands in every place where a level should."""
    usual = 2 if incident.category == "Normal" else 1
    level = _LEVEL_WORDS[min(3, max(0, usual + int(rng.random() * 2.4) - 1))]
    chance = _pick(_LEVEL_WORDS[1:], rng)
    if rng.random() < 0.8:
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
    reasons = [_pick(_JUSTIFICATIONS, rng).format_map(fields)]
    reasons += rng.sample(_SUPPORT, 2 if verbose else 1)
    impact = rng.sample(_IMPACTS, 2 if verbose or rng.random() < 0.1 else 1)
    likelihood = _pick(_LIKELIHOODS, rng).format_map(fields)
    urgency = _pick(_PRIORITIES, rng).format_map(fields)
    if verbose:
        urgency += " " + _pick(_FILLER, rng)
    return (
        f"**Risk Level:** {level}\n\n"
        f"**Justification:** {' '.join(reasons)}\n\n"
        f"**Business Impact:** {' '.join(impact).format_map(fields)}\n\n"
        f"**Likelihood of Malicious Activity:** {chance} - {likelihood[0].upper()}"
        f"{likelihood[1:]}\n\n"
        f"**Investigation Priority:** {priority} - {urgency[0].upper()}{urgency[1:]}"
    )


def _priority(level: str, rng: random.Random) -> str:
    """A priority that the prompt allows and the level suggests; of a few answers, another word."""
    chance = rng.random()
    if chance < _STRANGE_SHARE:
        return _STRANGE_PRIORITIES[int(chance / _STRANGE_SHARE * len(_STRANGE_PRIORITIES))]
    allowed = _PRIORITY_OF_LEVEL[level]
    return allowed[int((chance - _STRANGE_SHARE) / (1 - _STRANGE_SHARE) * len(allowed))]


_WRITERS: dict[str, _Writer] = {"summary": _summary, "cause": _cause, "risk": _risk}


def _lengthened(text: str, rng: random.Random) -> str:
    return f"{text} {' '.join(rng.sample(_FILLER, len(_FILLER)))}"


def _of_characters(text: str, size: int, rng: random.Random) -> str:
    """`text` in exactly `size` characters, which may cut it off or make it garrulous."""
    while len(text) < size:
        text = _lengthened(text, rng)
    kept = text[:size].rstrip()
    return kept + "." * (size - len(kept))


def _of_words(text: str, size: int, rng: random.Random) -> str:
    """`text` in exactly `size` words as `str.split` counts them.

    One of the gaps is a no-break space, at which `str.split` parts words and others may not.
    """
    found = list(_WORD.finditer(text))
    while len(found) < size:
        text = _lengthened(text, rng)
        found = list(_WORD.finditer(text))
    text = text[: found[size - 1].end()]
    before, _, after = text.rpartition(" ")
    return f"{before}\u00a0{after}"
