"""Make incidents: files of alerts in, `incidents.json` and the files next to it out, or nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from immune_data.common import cli, files
from immune_data.common.errors import ImmuneError
from immune_data.contract import alerts
from immune_data.slips import alert_files, categories, incidents, work
from immune_data.slips.alert_files import AlertFile
from immune_data.slips.selection import Selection
from immune_data.slips.work import Work


@dataclass(frozen=True)
class Output:
    """The files that were written, and the rows of the closing note."""

    incidents: Path
    events: Path
    rejects: Path
    accounts: list[dict[str, Any]]
    reasons: list[dict[str, Any]]
    strata: list[dict[str, Any]]
    selection: Selection


def build(
    paths: Sequence[Path],
    output: Path,
    *,
    form: str,
    selection: Selection,
    category: str | None = None,
    categories: Path | None = None,
    capture_from: re.Pattern[str] | None = None,
) -> Output:
    """Write the incidents of all files of alerts in `paths` to `output`.

    Raises:
        ImmuneError: a file cannot be read, or contains an alert in an unknown dialect.
    """
    sources = alert_files.find(paths, capture_from)
    by_capture = _categories(category, categories, sources)
    target = files.target(output)
    events, rejects = (target.with_suffix(end) for end in (".events.parquet", ".rejects.jsonl"))
    for path in (target, events, rejects):
        if files.target(path) in {files.target(file.path) for file in sources}:
            raise ImmuneError(f"{path} is one of the files to read: name another one to write")
    folder = target.parent
    with files.locked(folder), files.staging(folder) as hidden, work.opened(hidden) as database:
        with cli.progress() as report:
            for number, file in enumerate(sources):
                report(f"reading {file.name}")
                _read(number, file, by_capture.get(file.capture), database)
            report("linking")
            database.set(**selection.settings())
            database.relate()
            report("writing")
            staged = [hidden / name for name in ("incidents", "events", "rejects")]
            incidents.write(database, staged[0], staged[1], form)
            _write_rejects(database, staged[2])
        # The incidents come last: if they exist, so do the others.
        for path, final in zip(reversed(staged), (rejects, events, target), strict=True):
            files.move(path, final)
        return Output(
            output,
            output.with_name(events.name),
            output.with_name(rejects.name),
            accounts=database.dictionaries("from accounts order by file"),
            reasons=database.dictionaries(
                "select file, reason, count(*) as lines from rejects group by all order by all"
            ),
            strata=database.dictionaries(
                "select counted.capture, chosen.category, chosen.tier, count(*) as incidents, "
                "sum(counted.event_count)::bigint as events "
                "from chosen inner join counted using (incident_id) "
                "group by all order by all"
            ),
            selection=selection,
        )


def _categories(
    category: str | None, file: Path | None, sources: Sequence[AlertFile]
) -> Mapping[str | None, str | None]:
    if file is not None:
        return categories.of_captures(file, sources)
    return {alert_file.capture: category for alert_file in sources}


def _read(number: int, file: AlertFile, category: str | None, database: Work) -> None:
    """Put a file's alerts into the database, and its other lines into the rejects."""
    database.add_file(number, file)
    for line in alert_files.lines(file):
        if line.content is None:
            database.reject(number, line, "too_long", f"over {alert_files.LONGEST:,} bytes")
            continue
        if not line.content.strip():
            continue
        try:
            alert = alerts.read(line.content)
        except alerts.Unusable as unusable:
            cut = line.is_cut and unusable.reason == "not_json"
            database.reject(number, line, "cut" if cut else unusable.reason, unusable.detail)
        except alerts.UnknownDialect as unknown:
            raise ImmuneError(
                f"{file.name}, line {line.number} is in an unknown dialect ({unknown}): "
                f"alerts of {', '.join(alerts.DIALECTS)} are read"
            ) from None
        else:
            database.add(number, line, alert, file.capture, category)


def _write_rejects(database: Work, path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in database.rows(
            "select file, line, reason, detail, text from rejects order by all"
        ):
            names = ("file", "line", "reason", "detail", "text")
            file.write(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) + "\n")
