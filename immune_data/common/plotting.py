"""Matplotlib, for whoever draws."""

from __future__ import annotations

import logging
from types import ModuleType

from immune_data.common.errors import ImmuneError


def library() -> ModuleType:
    """Matplotlib, loaded without its remarks about where it keeps its list of fonts.

    Raises:
        ImmuneError: it cannot be loaded here.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    try:
        import matplotlib
    except (ImportError, OSError, ValueError) as error:
        raise ImmuneError(f"figures cannot be drawn: {error}") from None
    return matplotlib
