"""Load Matplotlib: nothing in, the library out, or a sentence that says why not."""

from __future__ import annotations

import logging
from types import ModuleType

from immune_data.common.errors import ImmuneError


def library() -> ModuleType:
    """Matplotlib, loaded without its messages about its font cache.

    Raises:
        ImmuneError: it cannot be loaded here.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    try:
        import matplotlib
    except (ImportError, OSError, ValueError) as error:
        raise ImmuneError(f"figures cannot be drawn: {error}") from None
    return matplotlib
