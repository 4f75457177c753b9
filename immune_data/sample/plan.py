"""Plan the sample corpus: the role of each incident.

In: a seed and the number of a block (961 incidents). Out: the block's roles, in the orders that
give the documented counts, and for each role its verdicts and the form of its answers.

The counts depend on two fixed permutations: `random.Random(42)` over the passing incidents in id
order, and scikit-learn's over the standalone ones in the judge file's order. So the ids are drawn
first, then which incidents pass; that determines the first permutation. The judge file's order is
free: it is chosen so that the second one puts the right number of each part on either side.
"""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from immune_data.sample import kinds

# Kinds of names that an answer may contain though its evidence does not; faults of summaries only.
UNSHOWN = ("address", "network", "port", "domain", "mac", "hash", "list_id", "time")
SUMMARY_FAULTS = ("severity", "event_total", "breakdown", "rules", "noise")
# A model whose risk level is the same whatever the evidence says.
CONSTANT_LEVEL = {"qwen2.5-1.5b": "Medium"}
MODELS = ("gpt-4o", "gpt-4o-mini", "qwen2.5-1.5b", "qwen2.5-3b")
TASKS = ("summary", "cause", "risk")

# Incidents of one block. Of the 826 with cause and risk answers, 802 have a summary verdict.
SUMMARISED, SUMMARY_ONLY = 961, 135
PASSING, FAILED, NO_SUMMARY = 750, 52, 24
FIRST_RUN = 532
# Standalone risk dataset: how many of each part pass its gates, and how many of those are in train.
STANDALONE, STANDALONE_TRAIN = 738, 664
PASS_STANDALONE = {"train": 643, "eval": 68, "failed": 12, "no_summary": 15}
TRAIN_STANDALONE = {"eval": 62, "failed": 10, "no_summary": 13}  # 85, appended by rule 9

# The case of a failed incident names the gate; then the number of each, and how many of those pass
# the standalone gates nevertheless, which look at only one answer and count words.
FAILED_CASES = (
    ("summary_score", 9, 4),
    ("cause_score", 9, 0),
    ("risk_score", 8, 0),
    ("summary_length:short", 3, 1),
    ("summary_length:long", 3, 2),
    ("summary_length:none", 1, 0),
    ("cause_length:short", 3, 0),
    ("cause_length:long", 3, 3),
    ("cause_length:wordy", 1, 0),
    ("risk_length:short", 3, 0),
    ("risk_length:long", 2, 2),
    ("risk_length:wordy", 1, 0),
    ("risk_level", 6, 0),
)
_SELF_FLAWED = frozenset(
    (
        *("cause_score", "risk_score", "risk_level"),
        *("cause_length:short", "cause_length:wordy", "risk_length:short", "risk_length:wordy"),
    )
)
# Why the standalone dataset refuses the judge's first-ranked answer: 39 passing incidents.
FLAWS = (
    *("risk_9",) * 8,
    *("cause_13",) * 6,
    *("cause_words_49",) * 3,
    *("cause_cjk",) * 2,
    *("cause_words_601",) * 3,
    *("risk_words_29",) * 4,
    *("risk_words_301",) * 3,
    *("no_level",) * 5,
    *("missing",) * 3,
    *("error",) * 2,
)
# Passing incidents that are exactly on a bound or special in another way.
CASES = (
    *("summary_4", "cause_14", "risk_10") * 3,
    *("summary_chars_low", "summary_chars_high", "cause_chars_low", "cause_chars_high") * 2,
    *("risk_chars_low", "risk_chars_high", "summary_bare") * 2,
    *("cause_words_50", "cause_words_600", "risk_words_30", "risk_words_300") * 2,
    *("tie_cause",) * 40,
    *("tie_summary",) * 30,
    *("winner_low_risk",) * 6,
    *("three_models",) * 8,
)
CONTROL_CASE = "control_token"
# Faults planted in the winner's answer to one task, while the next best answer is good; one per
# incident. They are defined in faults.py.
PLANTED = {
    "summary": (*UNSHOWN, *SUMMARY_FAULTS) * 3,
    "cause": UNSHOWN * 2,
    "risk": (*("address", "port", "domain", "time") * 2, *("contradicted",) * 4, *("mild",) * 3),
}
# Evidence that the lab's parser can write but that no public incident has; and, among the incidents
# that were not judged, some without events.
ODD_EVIDENCE = ("start_time", "critical", "unknown", *kinds.ODD_TARGETS) * 2

# The share of a model's answers with some fault, among those on which nothing depends.
_SLOPPINESS = {"gpt-4o": 0.01, "gpt-4o-mini": 0.02, "qwen2.5-3b": 0.12, "qwen2.5-1.5b": 0.24}
_SUMMARY_QUALITY = ((7.4, 1.1), (7.0, 1.2), (3.2, 1.4), (4.8, 1.5))
_CAUSE_QUALITY = ((22.0, 3.0), (20.0, 3.5), (12.0, 4.0), (13.0, 4.0))
_RISK_QUALITY = ((21.0, 3.5), (20.0, 3.5), (12.0, 4.5), (14.0, 4.0))


@dataclass(frozen=True, slots=True)
class Role:
    """One incident's part: where it must end up and what is special about it.

    `part` is train, eval, failed, no_summary or summary_only; `case` a failed gate or a special
    case; `flaw` why the standalone gates refuse it, if they do for another reason; `run` the
    number of the summary judge run with its verdict, or 0.
    """

    incident_id: str
    part: str
    case: str = ""
    flaw: str = ""
    run: int = 0
    evidence: str = ""

    @property
    def judged(self) -> bool:
        return self.part != "summary_only"

    @property
    def planted(self) -> tuple[str, str] | None:
        """The task whose winning answer has a fault, and the fault."""
        kind, _, fault = self.case.partition(":")
        task, _, fault = fault.partition(":")
        return (task, fault) if kind == "planted" else None

    @property
    def category(self) -> str:
        """The category that the incident must have, if its case requires one."""
        return {"contradicted": "Normal", "mild": "Malware"}.get((self.planted or ("", ""))[1], "")


@dataclass(frozen=True, slots=True)
class Planted:
    """A fault in one answer of one incident, for the audit to find."""

    incident_id: str
    task: str
    model: str
    fault: str
    wins: bool


@dataclass(frozen=True, slots=True)
class Block:
    """The roles of one block in id order, and their positions in the order of each judge file."""

    number: int
    roles: tuple[Role, ...]
    first_run: tuple[int, ...]
    second_run: tuple[int, ...]
    risk_run: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judges' scores for one incident; each mapping in the order of the record's keys."""

    summary: dict[str, float]
    summary_ranking: tuple[str, ...]
    cause: dict[str, float]
    risk: dict[str, float]
    ranking: tuple[str, ...]
    dropped: str = ""

    @property
    def summary_winner(self) -> str:
        return max(self.summary, key=self.summary.__getitem__)

    @property
    def cause_winner(self) -> str:
        return max(self.cause, key=self.cause.__getitem__)


@dataclass(frozen=True, slots=True)
class Form:
    """How an answer is written: `natural`, or some `shape` with a `size`; and a fault in it."""

    shape: str
    size: int = 0
    fault: str = ""


NATURAL = Form("natural")


@dataclass(frozen=True, slots=True)
class Forms:
    """The forms of one incident's answers, and of the entries (one per dataset) with them."""

    answers: dict[tuple[str, str], Form]
    summary_entries: dict[str, str] = field(default_factory=dict)
    risk_entries: dict[str, str] = field(default_factory=dict)


def stream(seed: int, *names: object) -> random.Random:
    """An independent random stream for `names` under `seed`."""
    return random.Random("/".join(map(str, (seed, *names))))


def plan_block(seed: int, number: int) -> Block:
    """Assign roles to the incidents of block `number`."""
    rng = stream(seed, number, "plan")
    ids = sorted(str(uuid.UUID(int=rng.getrandbits(128), version=4)) for _ in range(SUMMARISED))
    if len(set(ids)) < len(ids):  # one in 2^100, but a silent repetition would break every count
        raise AssertionError("two incidents of a block drew the same id")
    parts = _parts(ids, rng)
    specials = _specials(parts, rng)
    odd = _odd_evidence(parts, specials, stream(seed, number, "odd evidence"))
    judged = [i for i, part in enumerate(parts) if part not in ("no_summary", "summary_only")]
    rng.shuffle(judged)
    first, second = judged[:FIRST_RUN], judged[FIRST_RUN:]
    runs = dict.fromkeys(first, 1) | dict.fromkeys(second, 2)
    roles = tuple(
        Role(ids[i], part, *specials.get(i, ("", "")), runs.get(i, 0), odd.get(i, ""))
        for i, part in enumerate(parts)
    )
    return Block(number, roles, tuple(first), tuple(second), tuple(_risk_run(roles, rng)))


def _parts(ids: list[str], rng: random.Random) -> list[str]:
    """The part of each incident, in id order; eval and train as rule 5 shuffles them."""
    counts = {"pass": PASSING, "failed": FAILED, "no_summary": NO_SUMMARY}
    counts["summary_only"] = SUMMARY_ONLY
    parts = [part for part, count in counts.items() for _ in range(count)]
    rng.shuffle(parts)
    passing = [i for i, part in enumerate(parts) if part == "pass"]
    random.Random(42).shuffle(passing)
    held_out = max(1, round(0.1 * len(passing)))
    for position, i in enumerate(passing):
        parts[i] = "eval" if position < held_out else "train"
    return parts


def _specials(parts: list[str], rng: random.Random) -> dict[int, tuple[str, str]]:
    """Case and flaw of every incident that has one."""

    def members(part: str) -> list[int]:
        positions = [i for i, flaw_of_case in enumerate(parts) if flaw_of_case == part]
        rng.shuffle(positions)
        return positions

    special: dict[int, tuple[str, str]] = {}
    flaws = rng.sample(FLAWS, len(FLAWS))
    train, held_out = members("train"), members("eval")
    flawed_train = len(train) - PASS_STANDALONE["train"]
    flawed_eval = len(held_out) - PASS_STANDALONE["eval"]
    flawed = train[:flawed_train] + held_out[:flawed_eval]
    special |= {i: ("", flaw) for i, flaw in zip(flawed, flaws, strict=True)}
    special[train[-1]] = (CONTROL_CASE, "")
    flawless = train[flawed_train:-1] + held_out[flawed_eval:]
    cases = (*CASES, *(f"planted:{task}:{fault}" for task in TASKS for fault in PLANTED[task]))
    special |= zip(rng.sample(flawless, len(cases)), ((case, "") for case in cases), strict=True)

    failed = iter(members("failed"))
    for case, count, let_through in FAILED_CASES:
        for n in range(count):
            flaw_of_case = "" if n < let_through or case in _SELF_FLAWED else rng.choice(FLAWS)
            special[next(failed)] = (case, flaw_of_case)
    refused = members("no_summary")[PASS_STANDALONE["no_summary"] :]
    special |= {i: ("", rng.choice(FLAWS)) for i in refused}
    return special


def _odd_evidence(
    parts: list[str], specials: dict[int, tuple[str, str]], rng: random.Random
) -> dict[int, str]:
    """Special evidence for a few incidents that are not special otherwise."""
    plain = [i for i, part in enumerate(parts) if part == "train" and i not in specials]
    unjudged = [i for i, part in enumerate(parts) if part == "summary_only"]
    odd = dict(zip(rng.sample(plain, len(ODD_EVIDENCE)), ODD_EVIDENCE, strict=True))
    return odd | dict.fromkeys(rng.sample(unjudged, 2), "no_events")


def _passes_standalone(role: Role) -> bool:
    return role.judged and not role.flaw and role.case not in _SELF_FLAWED


def _risk_run(roles: tuple[Role, ...], rng: random.Random) -> list[int]:
    """An order of the cause and risk judge's file for which rule 8 splits as documented."""
    import numpy

    permutation = numpy.random.RandomState(42).permutation(STANDALONE).tolist()
    tested = math.ceil(0.1 * STANDALONE)
    test_places, train_places = permutation[:tested], permutation[tested:]
    to_train: list[int] = []
    to_test: list[int] = []
    for part in PASS_STANDALONE:
        passing = [i for i, r in enumerate(roles) if r.part == part and _passes_standalone(r)]
        if len(passing) != PASS_STANDALONE[part]:
            raise AssertionError(f"{len(passing)} incidents of part {part} pass standalone")
        rng.shuffle(passing)
        share = TRAIN_STANDALONE.get(part, STANDALONE_TRAIN - sum(TRAIN_STANDALONE.values()))
        to_train += passing[:share]
        to_test += passing[share:]
    rng.shuffle(to_train)
    rng.shuffle(to_test)
    places = dict(zip(train_places, to_train, strict=True))
    places |= zip(test_places, to_test, strict=True)
    order = [places[place] for place in range(STANDALONE)]
    # Those that fail the gates do not affect the order of the passing ones: they go anywhere.
    for i, role in enumerate(roles):
        if role.judged and not _passes_standalone(role):
            order.insert(rng.randrange(len(order) + 1), i)
    return order


def verdict(seed: int, role: Role) -> Verdict:
    """The judges' scores and rankings of a judged incident."""
    rng = stream(seed, role.incident_id, "verdict")
    summary = _summary_scores(role, rng)
    cause, risk, ranking = _totals(role, rng)
    tie_break = rng.sample(range(4), 4)
    summary_ranking = sorted(range(4), key=lambda m: (-summary[m], tie_break[m]))
    complete = Verdict(
        summary=_keyed(summary, rng),
        summary_ranking=tuple(MODELS[m] for m in summary_ranking),
        cause=_keyed(cause, rng),
        risk=_keyed(risk, rng),
        ranking=tuple(MODELS[m] for m in ranking),
    )
    return _without_one(complete) if role.case == "three_models" else complete


def _keyed(values: list[float], rng: random.Random) -> dict[str, float]:
    """Values by model, in a random order of keys."""
    return {MODELS[m]: values[m] for m in rng.sample(range(4), 4)}


def _without_one(verdict: Verdict) -> Verdict:
    """The verdict without one model, if there is one that does not matter."""
    kept = {verdict.summary_winner, verdict.cause_winner, *verdict.ranking[:2]}
    spare = [model for model in reversed(verdict.ranking) if model not in kept]
    if not spare:
        return verdict
    dropped = spare[0]

    def without(scores: dict[str, float]) -> dict[str, float]:
        return {model: score for model, score in scores.items() if model != dropped}

    return Verdict(
        summary=without(verdict.summary),
        summary_ranking=tuple(m for m in verdict.summary_ranking if m != dropped),
        cause=without(verdict.cause),
        risk=without(verdict.risk),
        ranking=tuple(m for m in verdict.ranking if m != dropped),
        dropped=dropped,
    )


def _draw(quality: tuple[tuple[float, float], ...], top: int, rng: random.Random) -> list[float]:
    return [min(top, max(0, round(rng.gauss(mean, spread)))) for mean, spread in quality]


def _cap(values: list[float], bound: float, best: float) -> None:
    """Lower `values` to at most `bound` and make the largest of them `best`."""
    top = max(range(len(values)), key=values.__getitem__)
    values[:] = [min(value, bound) for value in values]
    values[top] = best


def _summary_scores(role: Role, rng: random.Random) -> list[float]:
    scores = _draw(_SUMMARY_QUALITY, 10, rng)
    if rng.random() < 0.04:
        scores = [score + 0.5 if score < 10 and rng.random() < 0.5 else score for score in scores]
    if role.case == "summary_score":
        best = rng.choice((3, 3, 3.5, 2))
        _cap(scores, min(best, 3), best)
    elif role.case == "summary_4":
        _cap(scores, rng.choice((3, 4)), 4)
    elif max(scores) < 4:
        scores[rng.randrange(2)] = 5
    if role.planted:
        first, second = _leaders(role)
        scores = [min(score, 6) for score in scores]
        scores[first], scores[second] = rng.choice((9, 10)), rng.choice((7, 8))
    if role.case == "tie_summary":
        first, second = sorted(range(4), key=scores.__getitem__)[-2:]
        scores[first] = scores[second]
    return scores


def _leaders(role: Role) -> tuple[int, int]:
    """The models with the best and second best answers if the best one has a fault."""
    return ((0, 1), (1, 0), (0, 3), (1, 3))[int(role.incident_id[0], 16) % 4]


def _totals(role: Role, rng: random.Random) -> tuple[list[float], list[float], list[int]]:
    """Cause totals, risk totals and the ranking by their sum."""
    cause, risk = _draw(_CAUSE_QUALITY, 30, rng), _draw(_RISK_QUALITY, 30, rng)
    tie_break = rng.sample(range(4), 4)

    def ranking() -> list[int]:
        return sorted(range(4), key=lambda m: (-cause[m] - risk[m], tie_break[m]))

    def fix(first: tuple[int, int], second: tuple[int, int], rest: tuple[int, int]) -> None:
        """Set the totals (cause, risk) of the first two in the ranking; `rest` caps the others."""
        a, b, *others = ranking()
        cause[a], risk[a] = first
        cause[b], risk[b] = second
        for m in others:
            cause[m], risk[m] = min(cause[m], rest[0]), min(risk[m], rest[1])

    # Each gives all first places to the same model, whatever was drawn, and is one off a bound.
    match role.flaw or role.case:
        case "risk_9":
            fix((rng.randint(24, 27), 9), (rng.randint(14, 19), rng.randint(10, 13)), (20, 11))
        case "cause_13":
            fix((13, rng.randint(26, 29)), (rng.randint(14, 22), rng.randint(10, 15)), (20, 15))
        case "missing":
            fix((rng.randint(14, 16), 27), (rng.randint(18, 21), 14), (15, 14))
        case "winner_low_risk":
            fix((rng.randint(18, 20), 18), (24, rng.randint(5, 9)), (19, 15))
        case "cause_14":
            fix((14, rng.randint(23, 26)), (rng.randint(9, 13), rng.randint(10, 20)), (13, 20))
        case "risk_10":
            fix((rng.randint(23, 26), 10), (rng.randint(14, 20), rng.randint(4, 9)), (20, 9))
        case _ if role.planted:
            first, second = _leaders(role)
            cause, risk = ([min(total, 18) for total in totals] for totals in (cause, risk))
            cause[first], risk[first] = rng.randint(25, 28), rng.randint(24, 27)
            cause[second], risk[second] = rng.randint(20, 23), rng.randint(20, 22)
        case _ if role.case == CONTROL_CASE:
            small = MODELS.index("qwen2.5-1.5b")
            cause = [min(total, 18) for total in cause]
            risk = [min(total, 18) for total in risk]
            cause[small], risk[small] = 23, 19
    if role.case == "cause_score":
        _cap(cause, 13, rng.choice((13, 13, 12, 9)))
    elif role.case == "risk_score":
        _cap(risk, 9, rng.choice((9, 9, 8, 6)))
        cause[0] = max(cause[0], 14)
    elif role.flaw not in ("risk_9", "cause_13"):
        # Raising the first-ranked model keeps it first, and the incident passes both score gates.
        first = ranking()[0]
        cause[first], risk[first] = max(cause[first], 14), max(risk[first], 10)
    if role.case == "tie_cause":
        first, second = sorted(range(4), key=cause.__getitem__)[-2:]
        cause[first] = cause[second]
        best = ranking()[0]
        risk[best] = max(risk[best], 10)
        cause[best] = max(cause[best], 14)
    return cause, risk, ranking()


def forms(seed: int, role: Role) -> Forms:
    """The form of each answer, such that the incident passes and fails gates as its role says."""
    rng = stream(seed, role.incident_id, "forms")
    answers = {(task, model): NATURAL for task in TASKS for model in MODELS}
    if not role.judged:
        result = Forms(answers)
        _sprinkle(result, {task: set() for task in TASKS}, rng)
        return result
    judged = verdict(seed, role)
    first, winner = judged.ranking[0], judged.cause_winner
    summary_winner = judged.summary_winner
    others = [model for model in MODELS if model not in (first, judged.dropped)]
    anchor = rng.choice(others)
    # An anchor's answer is natural, so that it passes where the answer of any model is enough.
    summary_anchor = rng.choice([m for m in MODELS if m not in (summary_winner, judged.dropped)])
    result = Forms(answers)
    _sprinkle(
        result,
        {
            "summary": {summary_winner, summary_anchor},
            "cause": {first, winner, anchor},
            "risk": {first, winner, anchor},
        },
        rng,
    )
    _odd_winner(answers, summary_winner, rng)
    _set_bounds(result, role, first, others, rng)
    _set_flaw(result, role, first, rng)
    _plant(result, role)
    if role.case == CONTROL_CASE:
        answers["cause", winner] = Form("control")
    if judged.dropped:
        result.summary_entries[judged.dropped] = result.risk_entries[judged.dropped] = "absent"
    return result


def planted(seed: int, block: Block) -> Iterator[Planted]:
    """Every fault in the block's answers, in id order: planned in the best, random in others.

    Answers of a `CONSTANT_LEVEL` model do not count, nor do answers that are broken as a whole.
    """
    for role in block.roles:
        result = forms(seed, role)
        for (task, model), form in result.answers.items():
            entries = result.summary_entries if task == "summary" else result.risk_entries
            kept = ("", "bare") if task == "summary" else ("",)
            is_written = entries.get(model, "") in kept and (role.judged or task == "summary")
            if form.fault and is_written and role.evidence != "no_events":
                wins = role.planted == (task, form.fault) and model == MODELS[_leaders(role)[0]]
                yield Planted(role.incident_id, task, model, form.fault, wins)


def _plant(forms: Forms, role: Role) -> None:
    """Plant a fault in the best answer to one task; the next best model has complete answers."""
    if not role.planted:
        return
    fault_task, fault = role.planted
    first, second = (MODELS[m] for m in _leaders(role))
    for task in TASKS:
        forms.answers[task, first] = Form("natural", fault=fault if task == fault_task else "")
        forms.answers[task, second] = NATURAL
    for model in (first, second):
        forms.summary_entries.pop(model, None)
        forms.risk_entries.pop(model, None)


def _sprinkle(forms: Forms, kept: dict[str, set[str]], rng: random.Random) -> None:
    """Set missing, broken and fenced answers among those on which nothing depends."""
    answers = forms.answers
    for model in MODELS:
        for task in TASKS:
            fences = 0.07 if (task, model) == ("summary", "gpt-4o") else 0.01
            chance = rng.random()
            if chance < fences:
                answers[task, model] = Form("fenced")
            elif model in kept[task]:
                continue
            elif chance < fences + 0.025:
                answers[task, model] = Form("error")
            elif chance < fences + 0.05:
                answers[task, model] = Form(rng.choice(("null", "empty", "absent")))
            elif task == "summary" and chance < fences + (0.16 if "qwen" in model else 0.06):
                answers[task, model] = Form("echo")
            elif task == "summary" and chance < fences + 0.24:
                answers[task, model] = Form("bullets", rng.randint(12, 22))
            elif chance > 0.985:
                answers[task, model] = Form("cut", rng.randint(140, 420))
            elif chance > 0.985 - _SLOPPINESS[model]:
                faults = (*UNSHOWN, *SUMMARY_FAULTS) if task == "summary" else UNSHOWN
                if "qwen" in model and task != "risk":
                    faults = (*faults, *("loose",) * 6)
                answers[task, model] = Form("natural", fault=rng.choice(faults))
        if model not in kept["summary"] and rng.random() < 0.05:
            forms.summary_entries[model] = rng.choice(("absent", "null", "empty", "bare"))
        if model not in kept["cause"] and rng.random() < 0.05:
            forms.risk_entries[model] = rng.choice(("absent", "null", "empty", "bare"))


def _odd_winner(answers: dict[tuple[str, str], Form], winner: str, rng: random.Random) -> None:
    """Set a few winning summaries that should not have won, and some that are too long."""
    chance = rng.random()
    if chance < 0.012:
        answers["summary", winner] = Form("error")
    elif chance < 0.03:
        answers["summary", winner] = Form("echo")
    elif chance < 0.13:
        answers["summary", winner] = Form("bullets", rng.randint(12, 22))


def _set_all(forms: Forms, task: str, sizes: dict[str, int]) -> None:
    """Give each model's answer to `task` an exact number of characters."""
    for model, size in sizes.items():
        forms.answers[task, model] = Form("chars", size)
        entries = forms.summary_entries if task == "summary" else forms.risk_entries
        entries.pop(model, None)


def _set_bounds(
    forms: Forms, role: Role, first: str, others: list[str], rng: random.Random
) -> None:
    """Put all answers of one task at, or one off, a bound of the length gates.

    A length is characters // 4, so a bound of n is met by 4n to 4n + 3 characters.
    """
    bounds = {"summary": (50, 400), "cause": (50, 600), "risk": (30, 300)}
    for task, (low, high) in bounds.items():

        def short(low: int = low) -> int:
            return rng.choice((4 * low - 1, 4 * low - 4, 4 * low - 30))

        def long(high: int = high) -> int:
            return rng.choice((4 * high + 4, 4 * high + 7, 4 * high + rng.randint(10, 40)))

        single = rng.choice(others)
        match role.case:
            case case if case == f"{task}_chars_low":
                sizes = {m: rng.choice((short, long))() for m in MODELS}
                sizes[first] = long()
                sizes[single] = 4 * low + rng.randrange(4)
            case case if case == f"{task}_chars_high":
                sizes = {m: rng.choice((short, long))() for m in MODELS}
                sizes[first] = 4 * high + rng.randrange(4)
            case case if case == f"{task}_length:short":
                sizes = {m: short() for m in MODELS} | {single: 4 * low - 1}
            case case if case in (f"{task}_length:long", f"{task}_length:wordy"):
                sizes = {m: long() for m in MODELS} | {single: 4 * high + 4}
            case _:
                continue
        _set_all(forms, task, sizes)
        if role.case.endswith(":wordy"):
            forms.answers[task, first] = Form("words", high + 1 if task == "risk" else 601)
    match role.case:
        case "summary_bare":  # the only summary with an allowed length is a bare string
            _set_all(forms, "summary", dict.fromkeys(MODELS, 1604))
            single = rng.choice(others)
            forms.answers["summary", single] = Form("chars", 200)
            forms.summary_entries[single] = "bare"
        case "summary_length:none":
            for model, shape in zip(MODELS, ("null", "error", "absent", "empty"), strict=True):
                forms.answers["summary", model] = Form(shape)
                forms.summary_entries.pop(model, None)
        case "cause_words_50" | "cause_words_600" | "risk_words_30" | "risk_words_300":
            task, _, size = role.case.partition("_words_")
            forms.answers[task, first] = Form("words", int(size))
        case "risk_level":
            for model in MODELS:
                forms.answers["risk", model] = Form("no_level", rng.randrange(6))
                forms.risk_entries.pop(model, None)


def _set_flaw(forms: Forms, role: Role, first: str, rng: random.Random) -> None:
    """Make the first-ranked model's answers fail the standalone gates, and only those."""
    match role.flaw:
        case "cause_words_49" | "cause_words_601" | "risk_words_29" | "risk_words_301":
            task, _, size = role.flaw.partition("_words_")
            forms.answers[task, first] = Form("words", int(size))
        case "cause_cjk":
            forms.answers["cause", first] = Form("cjk")
        case "no_level":
            forms.answers["risk", first] = Form("no_level", rng.randrange(6))
        case "error":
            forms.answers["cause", first] = Form("error")
        case "missing":
            missing = rng.choice(("absent", "null", "empty", "bare", ""))
            if missing:
                forms.risk_entries[first] = missing
            else:
                forms.answers["cause", first] = Form("null")
