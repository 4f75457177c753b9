"""Load Matplotlib, or say in a sentence why it cannot be, and arrange a figure's parts."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import TYPE_CHECKING

from immune_data.common.errors import ImmuneError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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


def arrange(figure: Figure) -> None:
    """Put the parts of a figure in their places.

    A figure that has a layout engine arranges them again for every file, and is drawn twice for it.
    """
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    ConstrainedLayoutEngine().execute(figure)
