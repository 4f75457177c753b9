"""A command whose figures are drawn in some of their forms, in a process of its own.

python -m half_drawn FORM,… MODULE …
"""

from __future__ import annotations

import sys

from immune_data.common import cli
from immune_data.common.drawing import Drawing

_NOTHING = '<svg viewBox="0 0 1 1"></svg>'
PAGE, FILES = ("wide", "narrow"), ("svg", "png")
UNDRAWN = {"wide": _NOTHING, "narrow": _NOTHING, "svg": _NOTHING, "png": b""}


def main(forms: str, module: str, *arguments: str) -> int:
    for form in UNDRAWN.keys() - forms.split(","):
        setattr(Drawing, form, UNDRAWN[form])
    return cli.module(module).main(arguments)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
