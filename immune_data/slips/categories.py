"""The categories of captures: a TOML file that people write in, a category by capture out."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path

from immune_data.common import textfile
from immune_data.common.errors import ImmuneError
from immune_data.slips.alert_files import AlertFile

CATEGORIES = ("Malware", "Normal")


def of_captures(file: Path, files: Iterable[AlertFile]) -> dict[str | None, str]:
    """The category of each capture.

    Raises:
        ImmuneError: the file is not valid TOML, or the capture of one of `files` is missing.
    """
    try:
        categories = tomllib.loads(textfile.read(file))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ImmuneError(f"{file} is not TOML: {error}") from None
    for capture, category in categories.items():
        if category not in CATEGORIES:
            raise ImmuneError(f"{file}: {capture} is neither {' nor '.join(CATEGORIES)}")
    category_by_capture: dict[str | None, str] = dict(categories.items())
    for alerts in files:
        if alerts.capture not in category_by_capture:
            raise ImmuneError(
                f"{file} does not say what {alerts.capture} is, the capture of {alerts.name}"
            )
    return category_by_capture
