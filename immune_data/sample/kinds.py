"""The kinds of events in the sample corpus: their texts, and the hosts that have them.

The texts are ours but have the form of Slips' texts: the level at their end, names and numbers
inside, and a first word that can be taken for a target.
"""

from __future__ import annotations

from dataclasses import dataclass
from string import Formatter

# In the order of the lab's parser; an event whose severity it cannot read has the last one.
SEVERITIES = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO", "UNKNOWN")


@dataclass(frozen=True)
class Kind:
    """A kind of event: its name, its severity, the target of its bullets, and its text."""

    name: str
    severity: str
    target: str
    text: str

    @property
    def slots(self) -> tuple[str, ...]:
        """The names of the placeholders in the text, in order."""
        return tuple(name for _, name, _, _ in Formatter().parse(self.text) if name)


KINDS = (
    Kind(
        "sweep",
        "HIGH",
        "Horizontal",
        "Horizontal sweep of port {port}/TCP: {src} contacted {n} distinct hosts in {m} packets. "
        "Confidence: {c}.",
    ),
    Kind(
        "takeover",
        "CRITICAL",
        "{dst}:{port}",
        "Commands accepted from suspected controller {dst} on port {port}. Confidence: {c}.",
    ),
    Kind(
        "command",
        "HIGH",
        "{dst}:{port}",
        "Periodic check-in with suspected controller {dst} on port {port}, every {n} seconds. "
        "Confidence: {c}.",
    ),
    Kind(
        "vertical",
        "HIGH",
        "{dst}",
        "Vertical sweep of {dst} by {src}: {n} TCP ports probed with {m} packets. Confidence: {c}.",
    ),
    Kind(
        "guess",
        "HIGH",
        "{dst}:22",
        "Repeated SSH log-in failures on {dst} from {src}: {n} attempts.",
    ),
    Kind(
        "download",
        "HIGH",
        "{dst}",
        "File with MD5 {item} fetched from {dst} is on a list of malware.",
    ),
    Kind(
        "rare_port",
        "MEDIUM",
        "{dst}:{port}",
        "Session to unassigned port {port}/TCP on {dst}.",
    ),
    Kind(
        "plain_tls",
        "MEDIUM",
        "{dst}:443",
        "Plain-text session on TLS port 443 with {dst}.",
    ),
    Kind(
        "retries",
        "MEDIUM",
        "{dst}",
        "{src} kept reconnecting to {dst}, {n} attempts without a session.",
    ),
    Kind(
        "domain",
        "MEDIUM",
        "A",
        "A recently registered name was resolved: {host}",
    ),
    Kind(
        "upload",
        "MEDIUM",
        "{dst}:{port}",
        "Upload of {n} MB from {src} to {dst} on port {port}.",
    ),
    Kind(
        "spoofed",
        "MEDIUM",
        "{inner}",
        "MAC address {item} answers for {inner}, which belongs to another device.",
    ),
    Kind(
        "odd_http",
        "LOW",
        "{dst}:80",
        "Port 80 session with {dst} that does not speak HTTP.",
    ),
    Kind(
        "listed",
        "LOW",
        "{dst}",
        "Listed address {dst} contacted by {src}. Entry: {item}. List: example-drop.txt.",
    ),
    Kind(
        "listed_network",
        "LOW",
        "{dst}",
        "Address {dst} of listed network {item} contacted by {src}. List: example-level1.netset.",
    ),
    Kind(
        "certificate",
        "LOW",
        "Self-signed",
        "Self-signed certificate presented by {dst}.",
    ),
    Kind(
        "model",
        "LOW",
        "{dst}:{port}",
        "Flow model marks traffic of {src} with {dst} on port {port} as malicious. Score: {c}.",
    ),
    Kind(
        "private",
        "INFO",
        "{inner}:{port}",
        "Private address {inner} contacted on port {port}.",
    ),
    Kind(
        "no_dns",
        "INFO",
        "A",
        "A session with {dst} began without a preceding DNS answer.",
    ),
    Kind(
        "clear_http",
        "INFO",
        "{dst}",
        "Unencrypted HTTP from {src} to {dst}.",
    ),
)
KIND = {kind.name: number for number, kind in enumerate(KINDS)}
RANK = [SEVERITIES.index(kind.severity) for kind in KINDS]
SLOTS = [kind.slots for kind in KINDS]
TEXTS = [f"{kind.text} threat level: {kind.severity.lower()}." for kind in KINDS]

# Kinds whose events name no target, so that one bullet holds all of an incident.
CROWDS = ("sweep", "domain", "certificate", "no_dns")
# Targets that the lab's parser can write but that no public incident has, each with its only event.
ODD_TARGETS = {
    "port": ("port 8443", "A service on port 8443 was renamed."),
    "ports": ("3 ports", "A service answered on 3 ports at once."),
    "addresses": ("2 IPs", "A broadcast left this host for 2 IPs."),
    "address_ports": ("192.0.2.44:2 ports", "Two services of 192.0.2.44 changed places."),
}

# The behaviour of a compromised (or merely busy) host: weights of kinds, and chances of crowds.
HABITS = (
    {"rare_port": 40, "retries": 16, "listed": 8, "command": 2, "upload": 2, "download": 1},
    {"plain_tls": 22, "odd_http": 30, "private": 22, "clear_http": 12, "listed": 14},
    {"rare_port": 34, "listed": 24, "private": 26, "listed_network": 8, "model": 2},
    {"plain_tls": 30, "clear_http": 20, "spoofed": 4, "upload": 4, "retries": 8},
    {"guess": 16, "vertical": 10, "retries": 20, "private": 30, "model": 6, "command": 2},
    {"odd_http": 26, "listed": 24, "listed_network": 6, "clear_http": 16, "rare_port": 12},
)
CROWD_CHANCES = {"sweep": 0.6, "domain": 0.14, "certificate": 0.04, "no_dns": 0.75}
GIANT_HABIT = {"rare_port": 60, "private": 32, "retries": 4, "odd_http": 4}
NORMAL_HABIT = {"plain_tls": 26, "clear_http": 40, "private": 26, "odd_http": 8}
NORMAL_CROWDS = {"domain": 0.1, "certificate": 0.3, "no_dns": 0.8}

RARE_PORTS = (449, 447, 4444, 5555, 6667, 8082, 8443, 9001, 16464, 16470, 31337, 34567, 65520)
INNER_PORTS = (80, 135, 139, 443, 445, 1433, 3389, 8080)
SWEPT_PORTS = (80, 443, 445, 8080, 23, 22, 3389)
NAMES = (
    "updates.example.com",
    "cdn-eu.example.net",
    "telemetry.example.org",
    "x7k2q.example.com",
    "login-check.example.net",
    "mail.example.org",
    "sync.example",
    "münchen-büro.example",
    "données.example.net",
    "cafe\u0301-kasse.example.org",
    "bücherei.example.com",
    "备份服务器.example",
    "プリンタ.example.net",
    "сервер-7.example.org",
)
