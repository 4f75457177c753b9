"""The list of all steps from tables to a dataset, in order: the relations of each, and its code.

A step is one query, a file of `sql/pipeline/`, whose rows become the relation that the file is
named after; or one function, for what SQL is bad at. `pipeline.run` runs them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_PACKAGE = Path(__file__).parent.parent


def sql_folder() -> Path:
    """The folder of the SQL: in the installed package, or at the top of a checkout."""
    installed = _PACKAGE / "sql"
    return installed if installed.is_dir() else _PACKAGE.parent / "sql"


def text(name: str) -> str:
    """The query in a file of `sql/`."""
    return (sql_folder() / name).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Query:
    """A file of `sql/pipeline/` that makes one relation."""

    file: str

    @property
    def relations(self) -> tuple[str]:
        return (Path(self.file).stem.partition("_")[2],)

    @property
    def path(self) -> Path:
        return sql_folder() / "pipeline" / self.file


@dataclass(frozen=True)
class Function:
    """A function, in its file, that makes relations."""

    file: str
    name: str
    relations: tuple[str, ...]


STEPS: tuple[Query | Function, ...] = (
    Function("immune_data/select/recipe.py", "write", ("recipe",)),
    Query("01_settings.sql"),
    Query("02_pool.sql"),
    Query("03_gate_limits.sql"),
    Function("immune_data/select/condensing.py", "write", ("condensed", "evidence_digests")),
    Function("immune_data/select/cleaning.py", "write", ("cleaning", "cleaned")),
    Query("04_candidates.sql"),
    Query("05_choices.sql"),
    Query("06_leads.sql"),
    Query("07_best_responses.sql"),
    Query("08_risk_pool.sql"),
    Query("09_gate_values.sql"),
    Query("10_gates.sql"),
    Query("11_groups.sql"),
    Query("12_hashed_sides.sql"),
    Function("immune_data/select/orders.py", "shuffle", ("shuffle",)),
    Query("13_splits.sql"),
    Query("14_risk_gates.sql"),
    Function("immune_data/select/orders.py", "permutation", ("permutation",)),
    Query("15_risk_splits.sql"),
    Query("16_risk_only.sql"),
    Query("17_sft_records.sql"),
    Query("18_funnel.sql"),
    Function("immune_data/emit/records.py", "write", ("conversations",)),
    Query("19_warnings.sql"),
    Query("20_accounts.sql"),
    Query("21_held_out.sql"),
    Query("22_sides.sql"),
)


def queries() -> list[Query]:
    return [step for step in STEPS if isinstance(step, Query)]


def functions() -> list[Function]:
    return [step for step in STEPS if isinstance(step, Function)]


def sql_files() -> list[Path]:
    """The SQL files that affect what is emitted: those of the steps, and the functions' queries."""
    return [*(query.path for query in queries()), *sorted((sql_folder() / "emit").glob("*.sql"))]
