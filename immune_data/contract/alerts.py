"""One alert of Slips: a line of `alerts.json` of any dialect in, an event or an incident out.

Slips has changed its format three times: IDEA0 to 1.1.1, IDMEFv2 2.0.3 to 1.1.21, IDMEFv2 2.D.V03
from 1.1.22 on. The dialect is decided line by line, since one file may mix them. Reading is strict:
keys that Slips always writes must be there and have their type; other keys may contain anything.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

import msgspec
from msgspec import Struct

IDEA0, IDMEF_203, IDMEF_2D = "IDEA0", "2.0.3", "2.D.V03"
DIALECTS = (IDEA0, IDMEF_203, IDMEF_2D)
LEVELS = ("info", "low", "medium", "high", "critical")

_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_ADDRESS = re.compile(r"[0-9A-Fa-f:.]{2,45}(?:%[0-9A-Za-z._-]{1,15})?", re.ASCII)
_LEVEL_AT_END = re.compile(rf"[Tt]hreat level: ({'|'.join(LEVELS)})\. *\Z")
_WINDOW_IN_TEXT = re.compile(r"\bon timewindow (-?\d{1,18})\b", re.ASCII)
_LONGEST = 200  # characters of a line that an error repeats


class Unusable(Exception):
    """A line that is not an alert, or an alert that cannot be used."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class UnknownDialect(Exception):
    """An object in an unknown format, which the exception's text names."""


class Time(Struct, frozen=True):
    """A time as it is written, in microseconds since 1970, and its offset from UTC."""

    written: int
    offset: int

    @property
    def instant(self) -> int:
        """The time in UTC, by which times of different offsets are compared."""
        return self.written - self.offset

    def __str__(self) -> str:
        """`2026-10-02 00:30:16`: as it is written, without fraction and offset."""
        time = _EPOCH + self.written * _MICROSECOND
        return time.isoformat(" ", "seconds")


class Event(Struct, frozen=True):
    """An event that Slips noticed about `attacker`.

    IDEA0 does not contain the time of the traffic: there, `time` is when Slips wrote the event. Its
    `severity` and `threat_level` are None before Slips 1.0.12, its `window` before 1.0.9.
    """

    event_id: str
    dialect: str
    time: Time
    severity: str | None
    threat_level: str | None
    confidence: float
    window: int | None
    attacker: str | None
    victim: str | None
    hostname: str | None
    port: int | None
    protocol: str | None
    flows: tuple[str, ...]
    text: str


class Incident(Struct, frozen=True):
    """A host's time window in which Slips raised an alert, and the ids of its events.

    IDEA0 has neither the window's limits (`start`, `end`) nor ids (`events` is None): its events
    are those of the host and `linked_window` since the last alert.
    """

    incident_id: str
    dialect: str
    host: str
    window: int | None
    linked_window: int | None
    start: Time | None
    end: Time | None
    threat_level: float | None
    written: Time
    events: tuple[str, ...] | None


class _Endpoint(Struct):
    """One end of the traffic: a `Source` or a `Target`."""

    IP: str | None = None
    IP4: list[str] | None = None
    IP6: list[str] | None = None
    Hostname: str | list[str] | None = None
    URL: str | list[str] | None = None
    Port: list[int | str] | None = None
    Protocol: list[str] | None = None
    Proto: list[str] | None = None
    Note: str | None = None

    @property
    def address(self) -> str | None:
        text = self.IP or _first(self.IP4) or _first(self.IP6)
        return None if text is None else _address(text)

    @property
    def name(self) -> str | None:
        return _first(self.Hostname) or self._server_name() or _first(self.URL)

    @property
    def port(self) -> int | None:
        port = _first(self.Port)
        if port is None:
            return None
        if not isinstance(port, int) and not (port.isascii() and port.isdigit() and len(port) < 6):
            raise Unusable("wrong_value", f"port {port[:_LONGEST]!r}")
        if not 0 <= int(port) < 1 << 16:
            raise Unusable("wrong_value", f"port {port}")
        return int(port)

    @property
    def protocol(self) -> str | None:
        return _first(self.Protocol) or _first(self.Proto)

    def _server_name(self) -> str | None:
        if self.Note is None:
            return None
        name = _decode(self.Note, _ENDPOINT_NOTES, "Note of Target").SNI
        return name if isinstance(name, str) and name else None


class _EndpointNote(Struct):
    SNI: Any = None


class _Attachment(Struct):
    Content: str | None = None
    Hash: list[str] | None = None


class _Note(Struct):
    uids: list[str] | None = None
    accumulated_threat_level: float | None = None
    threat_level: str | None = None
    timewindow: int | float | None = None
    EndTime: datetime | None = None


class _Line(Struct):
    """The keys of all dialects that are read here."""

    Version: str | None = None
    Format: str | None = None
    Status: str | None = None
    Category: str | list[str] | None = None
    ID: str | None = None
    Severity: str | None = None
    Priority: str | None = None
    StartTime: datetime | None = None
    CreateTime: datetime | None = None
    DetectTime: datetime | None = None
    Confidence: float | None = None
    Description: str | None = None
    Attach: list[_Attachment] | None = None
    Size: int | None = None
    Source: list[_Endpoint] | None = None
    Target: list[_Endpoint] | None = None
    CorrelID: list[str] | None = None
    Note: str | None = None
    uids: list[str] | None = None
    timewindow: int | float | None = None
    profileid: str | None = None
    threat_level: float | None = None


_LINES = msgspec.json.Decoder(_Line)
_ANYTHING = msgspec.json.Decoder()
_NOTES = msgspec.json.Decoder(_Note)
_ENDPOINT_NOTES = msgspec.json.Decoder(_EndpointNote)


def read(line: bytes) -> Event | Incident:
    """The alert of a line.

    Raises:
        Unusable: the line is not an alert, or one that cannot be used.
        UnknownDialect: it is an object in another format.
    """
    try:
        alert = _decode(line, _LINES, "")
    except Unusable as unusable:
        if unusable.reason == "wrong_type":
            # An unknown format explains more than a wrong type in it.
            value = _decode(line, _ANYTHING, "")
            if not isinstance(value, dict):
                raise Unusable("not_an_object", "the line is not a JSON object") from None
            _dialect(value.get("Version"), value.get("Format"), value.get("Status"))
        raise
    dialect = _dialect(alert.Version, alert.Format, alert.Status)
    if alert.ID is None or not is_id(alert.ID):
        raise Unusable("wrong_id", f"ID {alert.ID!r:.{_LONGEST}}")
    if dialect == IDEA0:
        if alert.Format == IDEA0:
            return _idea0_event(alert)
        if alert.Category != "Alert":
            raise UnknownDialect(f"Category {alert.Category!r:.{_LONGEST}} of Format 'Json'")
        return _idea0_incident(alert)
    return _event(alert, dialect) if alert.Status == "Event" else _incident(alert, dialect)


def is_id(text: str) -> bool:
    """Whether a text is an id of Slips, a UUID."""
    return _ID.fullmatch(text) is not None


def _dialect(version: object, format_name: object, status: object) -> str:
    if version is None and format_name in (IDEA0, "Json"):
        return IDEA0
    if version in DIALECTS[1:]:
        if status in ("Event", "Incident"):
            return str(version)
        raise UnknownDialect(f"Status {status!r:.{_LONGEST}} of Version {version!r}")
    if version is None and format_name is None:
        raise UnknownDialect("neither Version nor Format")
    field = ("Version", version) if version is not None else ("Format", format_name)
    raise UnknownDialect(f"{field[0]} {field[1]!r:.{_LONGEST}}")


def _event(alert: _Line, dialect: str) -> Event:
    note = _decode(_require(alert.Note, "Note"), _NOTES, "Note")
    name = "Severity" if dialect == IDMEF_203 else "Priority"
    source = _source(alert)
    target = alert.Target[0] if alert.Target else _Endpoint()
    return Event(
        event_id=str(alert.ID),
        dialect=dialect,
        time=_time(alert.StartTime, "StartTime"),
        severity=_level(getattr(alert, name), name),
        threat_level=_level(note.threat_level, "Note.threat_level"),
        confidence=_confidence(alert.Confidence),
        window=_window(_require(note.timewindow, "Note.timewindow")),
        attacker=source.address or source.name,
        victim=target.address,
        hostname=target.name,
        port=target.port,
        protocol=source.protocol,
        flows=tuple(_require(note.uids, "Note.uids")),
        text=_text(alert.Description, "Description"),
    )


def _incident(alert: _Line, dialect: str) -> Incident:
    note = _decode(_require(alert.Note, "Note"), _NOTES, "Note")
    window = _window(_require(note.timewindow, "Note.timewindow"))
    return Incident(
        incident_id=str(alert.ID),
        dialect=dialect,
        host=_require(_source(alert).address, "Source[0].IP"),
        window=window,
        linked_window=window,
        start=_time(alert.StartTime, "StartTime"),
        end=_time(note.EndTime, "Note.EndTime"),
        threat_level=_accumulated_level(
            _require(note.accumulated_threat_level, "Note.accumulated_threat_level")
        ),
        written=_time(alert.CreateTime, "CreateTime"),
        events=tuple(_require(alert.CorrelID, "CorrelID")),
    )


def _idea0_event(alert: _Line) -> Event:
    source = _source(alert)
    target = alert.Target[0] if alert.Target else _Endpoint()
    attachment = alert.Attach[0] if alert.Attach else _Attachment()
    text = attachment.Content
    if text is None and attachment.Hash:  # a file that was downloaded has no text
        size = "" if alert.Size is None else f", {alert.Size} bytes"
        text = f"Downloaded file {_first(attachment.Hash)}{size}"
    text = _text(text, "Attach[0].Content")
    match = _LEVEL_AT_END.search(text)
    level = match[1] if match else None
    # In the event of a scan or a C&C channel, a source has the port of the other endpoint.
    ports = (end.port for end in (target, *(alert.Source or ())))
    return Event(
        event_id=str(alert.ID),
        dialect=IDEA0,
        time=_time(alert.DetectTime, "DetectTime"),
        severity="high" if level == "critical" else level,  # as IDMEFv2 has it
        threat_level=level,
        confidence=_confidence(alert.Confidence),
        window=_window(alert.timewindow),
        attacker=source.address or source.name,
        victim=target.address,
        hostname=target.name,
        port=next((port for port in ports if port is not None), None),
        protocol=next((end.protocol for end in alert.Source or () if end.protocol), None),
        flows=tuple(_require(alert.uids, "uids")),
        text=text,
    )


def _idea0_incident(alert: _Line) -> Incident:
    window = _window(alert.timewindow)
    match = _WINDOW_IN_TEXT.search(alert.Attach[0].Content or "") if alert.Attach else None
    host = (
        _source(alert).address
        if alert.profileid is None
        else _address(alert.profileid.removeprefix("profile_"))
    )
    return Incident(
        incident_id=str(alert.ID),
        dialect=IDEA0,
        host=_require(host, "Source[0].IP4"),
        window=int(match[1]) if window is None and match else window,
        linked_window=window,
        start=None,
        end=None,
        threat_level=_accumulated_level(alert.threat_level),
        written=_time(alert.DetectTime, "DetectTime"),
        events=None,
    )


def _source(alert: _Line) -> _Endpoint:
    return _require(alert.Source, "Source")[0]


def _decode(text: bytes | str, decoder: msgspec.json.Decoder[Any], where: str) -> Any:
    """The value of a JSON text; `where` names its place in an error."""
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        reason, detail = "wrong_type", str(error).replace("`", "")
    except msgspec.DecodeError as error:
        reason, detail = "not_json", str(error)
    except UnicodeError:
        reason, detail = "not_utf8", "text that is not UTF-8"
    except RecursionError:
        reason, detail = "too_deep", "nested too deeply"
    raise Unusable(reason, f"{where}: {detail}" if where else detail)


def _require(value: Any, name: str) -> Any:
    if value is None or (value == [] and name == "Source"):
        raise Unusable("missing", name)
    return value


def _first(values: str | list[Any] | None) -> Any:
    return (values[0] if values else None) if isinstance(values, list) else values or None


def _time(time: datetime | None, name: str) -> Time:
    time = _require(time, name)
    offset = time.utcoffset() or timedelta()
    written = time.replace(tzinfo=None) - _EPOCH
    return Time(written // _MICROSECOND, offset // _MICROSECOND)


def _level(level: str | None, name: str) -> str:
    name_of_level = _require(level, name).lower()
    if name_of_level not in LEVELS:
        raise Unusable("wrong_value", f"{name} {level!r:.{_LONGEST}}")
    return name_of_level


def _accumulated_level(level: float | None) -> float | None:
    """An accumulated level."""
    if level is not None and not 0 <= level < 1e15:
        raise Unusable("wrong_value", f"accumulated threat level {level}")
    return level


def _confidence(confidence: float | None) -> float:
    if not 0 <= _require(confidence, "Confidence") <= 1:
        raise Unusable("wrong_value", f"Confidence {confidence}")
    return float(confidence or 0)


def _window(number: int | float | None) -> int | None:
    if number is not None and (int(number) != number or abs(number) >= 1 << 53):
        raise Unusable("wrong_value", f"timewindow {number}")
    return None if number is None else int(number)


def _text(text: str | None, name: str) -> str:
    if not _require(text, name).strip():
        raise Unusable("missing", name)
    return str(text)


@lru_cache(1 << 12)
def _address(text: str) -> str:
    try:
        if _ADDRESS.fullmatch(text):
            ip_address(text)
            return text
    except ValueError:
        pass
    raise Unusable("wrong_address", f"{text!r:.{_LONGEST}}")
