"""Draw a figure: the function that plots it in, SVG and PNG out.

A page has every figure twice, for a desktop and for a phone; a style sheet chooses. Colours are
those of a light page; `DARK` overrides them where the reader prefers dark. The same rows give the
same bytes.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from immune_data.common import plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED, GRID, SURFACE = "#1d2630", "#55606d", "#d5dbe1", "#ffffff"
KEPT, LOST, OTHER = "#0b66ad", "#d9640f", "#7d8a97"
_DARKENED = {
    INK: "#e8ecf1",
    MUTED: "#a9b4c0",
    GRID: "#3b4651",
    SURFACE: "#151b21",
    KEPT: "#4f9fdf",
    LOST: "#ff9a52",
    OTHER: "#b9c3cd",
}
# The colours are in inline styles, so that a viewer without CSS variables shows them too.
DARK = "".join(
    f'svg [style*="{what}: {light}"]{{{what}:{dark}!important}}'
    for light, dark in _DARKENED.items()
    for what in ("fill", "stroke")
)

_FONTS = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"
_DPI = 160
_HEADING, _LEGEND = 0.35, 0.3  # inches


@dataclass(frozen=True)
class Key:
    """An entry of a legend: a mark and what it means."""

    colour: str
    text: str
    mark: str = "s"


@dataclass(frozen=True)
class Drawing:
    """A figure: its name, title, description and legend, and the function that plots it.

    Each of its forms is drawn when it is asked for: two widths for a page, which shows title and
    legend itself, and the files, in which they are drawn.
    """

    name: str
    title: str
    description: str
    legend: tuple[Key, ...]
    plot: Callable[[bool], Figure]  # given whether it should be narrow

    @cached_property
    def wide(self) -> str:
        """The element of a wide page."""
        return self._element(f"{self.name}-wide", narrow=False)

    @cached_property
    def narrow(self) -> str:
        """The element of a narrow page."""
        return self._element(f"{self.name}-narrow", narrow=True)

    @cached_property
    def svg(self) -> str:
        """A file of its own."""
        with _settings(self.name):
            svg = _svg(self._complete, self.name)
        label = self._label(self.name)
        background = f'<rect width="100%" height="100%" style="fill: {SURFACE}"/>'
        style = f"<style>@media (prefers-color-scheme: dark){{{DARK}}}</style>"
        return _with_opening_tag(svg, label, f"{label[1]}{style}{background}", xml=True)

    @cached_property
    def png(self) -> bytes:
        """A file of its own."""
        image = io.BytesIO()
        with _settings(self.name):
            self._complete.savefig(image, format="png", dpi=_DPI, metadata={"Software": None})
        return image.getvalue()

    @cached_property
    def _complete(self) -> Figure:
        """The figure of the files, with title and legend."""
        with _settings(self.name):
            figure = self.plot(False)
            _complete(figure, self.title, self.legend)
            return _arranged(figure)

    def _label(self, name: str) -> tuple[str, str]:
        return _label(name, self.title, self.description)

    def _element(self, name: str, *, narrow: bool) -> str:
        with _settings(name):
            svg = _svg(_arranged(self.plot(narrow)), name)
        label = self._label(name)
        return _with_opening_tag(svg, label, label[1], xml=False).replace("xlink:href", "href")


def _arranged(figure: Figure) -> Figure:
    """The figure with its parts in their places."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    FigureCanvasSVG(figure)  # measures texts as they will be in the SVG
    plotting.arrange(figure)
    return figure


def _complete(figure: Figure, title: str, legend: Sequence[Key]) -> None:
    """Add what a figure outside a page needs: its title above, its legend below."""
    from matplotlib.lines import Line2D

    figure.set_figheight(figure.get_figheight() + _HEADING + (_LEGEND if legend else 0))
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold", color=INK)
    if legend:
        marks = [
            Line2D([], [], color=key.colour, marker=key.mark, markersize=6, linestyle="none")
            for key in legend
        ]
        figure.legend(
            marks,
            [key.text for key in legend],
            loc="outside lower left",
            ncols=len(legend),
            frameon=False,
            fontsize=8,
            handletextpad=0.2,
        )


@contextmanager
def _settings(salt: str) -> Iterator[None]:
    """Matplotlib's defaults, whatever the user's configuration, overridden by our choices."""
    mpl = plotting.library()
    with warnings.catch_warnings(), mpl.rc_context():
        warnings.simplefilter("ignore")  # a glyph missing from our font is in the reader's
        mpl.rcdefaults()
        mpl.rcParams.update(
            {
                "axes.edgecolor": GRID,
                "axes.grid.axis": "y",
                "axes.labelcolor": MUTED,
                "axes.labelsize": 8,
                "axes.spines.left": False,
                "axes.spines.right": False,
                "axes.spines.top": False,
                "axes.titlecolor": INK,
                "axes.titlelocation": "left",
                "axes.titlesize": 9,
                "axes.titleweight": "bold",
                "axes.unicode_minus": True,
                "figure.facecolor": SURFACE,
                "font.family": ["DejaVu Sans"],
                "font.size": 8,
                "grid.color": GRID,
                "svg.fonttype": "none",
                "svg.hashsalt": salt,
                "text.color": INK,
                "text.parse_math": False,
                "xtick.color": GRID,
                "xtick.major.size": 0,
                "xtick.labelcolor": MUTED,
                "xtick.labelsize": 7.5,
                "ytick.color": GRID,
                "ytick.major.size": 0,
                "ytick.labelcolor": INK,
                "ytick.labelsize": 8,
            }
        )
        yield


def _svg(figure: Figure, salt: str) -> str:
    """The figure as an SVG element, without prologue, metadata, style sheet and unused ids."""
    text = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(text, format="svg", metadata=nothing, transparent=True)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\bfont: ([^\"]*?[\d.]+px) [^;\"]*", rf"font: \1 {_FONTS}", svg)
    used = dict.fromkeys(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", svg)
    # Matplotlib makes ids of memory addresses too, whatever its salt: number them instead.
    for number, name in enumerate(used):
        svg = re.sub(
            rf'(id="|href="#|url\(#){re.escape(name)}(?=["\)])', rf"\g<1>{salt}-{number}", svg
        )
    return re.sub(r"\n\s*", "\n", svg).strip()


def _label(name: str, title: str, description: str) -> tuple[str, str]:
    """Attributes and elements that tell those who cannot see it what an SVG shows."""
    return (
        f'role="img" aria-labelledby="{name}-title {name}-desc"',
        f'<title id="{name}-title">{html.escape(title)}</title>'
        f'<desc id="{name}-desc">{html.escape(description)}</desc>',
    )


def _with_opening_tag(svg: str, label: tuple[str, str], first: str, *, xml: bool) -> str:
    """`svg` with an opening tag of ours, followed by `first`."""
    opening, _, rest = svg.partition(">")
    [(width, height)] = re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', opening)
    names = ' xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    size = f' width="{width}" height="{height}"' if xml else ""
    fixed = ' style="stroke-linejoin:round;stroke-linecap:butt"'
    tag = f'<svg{names if xml else ""}{size} viewBox="0 0 {width} {height}" {label[0]}{fixed}>'
    return f"{tag}{first}{rest}" + ("\n" if xml else "")
