"""Packs hold each conversation once, and a conversation's loss is the same packed and alone."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from examples import examples
from hypothesis import example, given
from hypothesis import strategies as st
from training import NO_LOSS, as_rows, model_of_few_words, rows, small_tokenizer

from immune_data.common.errors import ImmuneError
from immune_train import configs
from immune_train.data import packing
from immune_train.data.packing import best_fit_decreasing, layout, packed, padded

CAPACITY = 100
lengths_of = st.lists(st.integers(1, CAPACITY), max_size=60)


# Best-fit decreasing


def loads(bins: Sequence[Sequence[int]], lengths: Sequence[int]) -> list[int]:
    return [sum(lengths[i] for i in bin) for bin in bins]


@given(lengths_of)
@examples(300)
@example([])
@example([CAPACITY] * 3)
@example([1] * 250)
def test_the_laws_of_bins(lengths: list[int]) -> None:
    bins = best_fit_decreasing(lengths, CAPACITY)
    assert sorted(i for bin in bins for i in bin) == list(range(len(lengths)))
    found = loads(bins, lengths)
    assert all(0 < load <= CAPACITY for load in found)
    assert best_fit_decreasing(list(lengths), CAPACITY) == bins
    # No two bins could have been one.
    lightest = sorted(found)[:2]
    assert len(lightest) < 2 or sum(lightest) > CAPACITY


@given(lengths_of)
@examples(200)
def test_each_goes_where_it_fits_best(lengths: list[int]) -> None:
    """The rule itself, done the slow way."""
    bins: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        room = [CAPACITY - load for load in loads(bins, lengths)]
        fits = [(left, at) for at, left in enumerate(room) if left >= lengths[i]]
        if not fits:
            bins.append([])
            fits = [(CAPACITY, len(bins) - 1)]
        bins[min(fits)[1]].append(i)
    assert best_fit_decreasing(lengths, CAPACITY) == bins


@given(st.lists(st.lists(st.integers(1, CAPACITY - 1), max_size=6), max_size=12), st.randoms())
@examples(200)
def test_few_more_bins_than_would_do(cuts: list[list[int]], rng: random.Random) -> None:
    """Full bins cut into pieces: we know that as many bins are enough."""
    pieces = []
    for at in cuts:
        borders = [0, *sorted(set(at)), CAPACITY]
        pieces += [end - start for start, end in itertools.pairwise(borders)]
    rng.shuffle(pieces)
    assert len(best_fit_decreasing(pieces, CAPACITY)) <= 11 / 9 * len(cuts) + 1


@given(st.sampled_from([1, 2, 4]), st.sampled_from([1, 3, 8]), st.data())
@examples(60)
def test_a_step_needs_no_more_packs_than_it_has_padded_micro_batches(
    batch: int, accumulation: int, data: st.DataObject
) -> None:
    settings = [
        *("packing=true", f"max_length={CAPACITY}", f"per_device_train_batch_size={batch}"),
        f"gradient_accumulation_steps={accumulation}",
    ]
    capacity, step = _capacity(tuple(settings))
    assert (capacity, step) == (batch * CAPACITY, batch * accumulation)
    exact = st.lists(st.integers(1, CAPACITY), min_size=step, max_size=step)
    lengths = data.draw(exact)
    assert len(best_fit_decreasing(lengths, capacity)) <= accumulation


def _capacity(overrides: tuple[str, ...]) -> tuple[int, int]:
    if overrides not in _KNOWN:
        loaded = configs.load("tiny", overrides)
        _KNOWN[overrides] = loaded.capacity, loaded.step
    return _KNOWN[overrides]


_KNOWN: dict[tuple[str, ...], tuple[int, int]] = {}


def test_one_that_is_too_long_is_an_error() -> None:
    assert best_fit_decreasing([7, 3], 7) == [[0], [1]]
    with pytest.raises(ImmuneError, match="8 tokens does not fit a pack of 7"):
        best_fit_decreasing([3, 8], 7)


def test_layouts_by_hand() -> None:
    # Pairs padded to 6, 2 and 5: 12 + 4 + 5 for 19 tokens. Steps of four: packs (6, 4) and (2, 2)
    # of 10, then (5).
    padding, packs = layout([6, 4, 2, 2, 5], 2, 4, 10)
    assert padding == pytest.approx(2 / 21)
    assert packs == 3 / 2


# Batches


def test_rows_are_padded_on_the_right() -> None:
    rows = [{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}, {"input_ids": [8], "labels": [-100]}]
    batch = padded(rows, 9)
    assert {key: value.tolist() for key, value in batch.items()} == {
        "input_ids": [[5, 6, 7], [8, 9, 9]],
        "attention_mask": [[1, 1, 1], [1, 0, 0]],
        "labels": [[-100, 6, 7], [-100, -100, -100]],
    }


def test_a_pack_says_where_conversations_meet() -> None:
    rows = [{"input_ids": [5, 6, 7], "labels": [5, 6, 7]}, {"input_ids": [8, 9], "labels": [8, 9]}]
    batch = packed(rows)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1]]
    assert batch["labels"].tolist() == [[-100, 6, 7, -100, 9]]
    assert batch["cu_seq_lens_q"].tolist() == batch["cu_seq_lens_k"].tolist() == [0, 3, 5]
    assert (batch["max_length_q"], batch["max_length_k"]) == (3, 3)
    assert str(batch["cu_seq_lens_q"].dtype) == "torch.int32"


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8))
@examples(50)
def test_a_collated_step_holds_every_conversation_once(lengths: list[int]) -> None:
    rows = [
        {"input_ids": list(range(i * 100, i * 100 + n)), "labels": [i] * n}
        for i, n in enumerate(lengths)
    ]
    made = packing.Packing(30)(rows)
    found = []
    for one in made[packing.MICRO_BATCHES]:
        ids, borders = one["input_ids"][0].tolist(), one["cu_seq_lens_q"].tolist()
        found += [ids[a:b] for a, b in itertools.pairwise(borders)]
        assert borders[-1] == len(ids) <= 30
    assert sorted(found) == [row["input_ids"] for row in rows]
    assert int((made["labels"] != NO_LOSS).sum()) == sum(lengths) - len(lengths)


# Isolation


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def adapted() -> Any:
    """A model whose adapter does something."""
    return model_of_few_words(init_lora_weights=False)


def silent(row: dict[str, list[int]]) -> dict[str, list[int]]:
    return {"input_ids": row["input_ids"], "labels": [NO_LOSS] * len(row["labels"])}


def loss_and_gradient(model: Any, batch: dict[str, Any], items: Any = None) -> tuple[float, Any]:
    import torch

    from immune_train.sft.trainer import answer_loss

    model.zero_grad()
    loss = answer_loss(model, batch, items)
    loss.backward()
    gradient = [p.grad.flatten() for p in model.parameters() if p.requires_grad]
    return loss.item(), torch.cat(gradient)


def assert_same(model: Any, one: dict[str, Any], other: dict[str, Any], items: Any = None) -> None:
    first, gradient = loss_and_gradient(model, one, items)
    second, other_gradient = loss_and_gradient(model, other, items)
    assert gradient.abs().max() > 1e-3
    assert first == pytest.approx(second, rel=1e-5)
    assert (gradient - other_gradient).abs().max() < 1e-5 * max(1, gradient.abs().max())


@pytest.mark.parametrize("which", [0, 1, 2, 3])
def test_a_conversation_learns_the_same_packed_and_alone(adapted: Any, which: int) -> None:
    made = rows(17, 40, 2, 31)
    alone = padded([made[which]], 0)
    pack = [row if i == which else silent(row) for i, row in enumerate(made)]
    assert_same(adapted, alone, packed(pack))
    assert_same(adapted, alone, padded(pack, 0))


@given(st.lists(st.integers(2, 40), min_size=1, max_size=5), st.integers(0, 999))
@examples(25)
def test_a_pack_learns_what_its_conversations_do_padded(
    adapted: Any, lengths: list[int], seed: int
) -> None:
    made = rows(*lengths, seed=seed)
    items = sum(label != NO_LOSS for row in made for label in row["labels"])
    assert_same(adapted, packed(made), padded(made, 0), items)


def test_another_conversation_changes_nothing(adapted: Any) -> None:
    made = rows(17, 40, 23)
    others = [rows(17, seed=9)[0], made[1], rows(5, seed=9)[0]]
    first = [silent(made[0]), made[1], silent(made[2])]
    second = [silent(others[0]), made[1], silent(others[2])]
    assert_same(adapted, packed(first), packed(second))


def test_without_borders_it_would_not_be_so(adapted: Any) -> None:
    """That the tests above could fail: the same tokens, read as one conversation."""
    made = rows(17, 40)
    pack = packed([silent(made[0]), made[1]])
    naive = {"input_ids": pack["input_ids"], "labels": pack["labels"]}
    right, gradient = loss_and_gradient(adapted, pack)
    wrong, other = loss_and_gradient(adapted, naive)
    assert abs(right - wrong) > 1e-3
    assert (gradient - other).abs().max() > 1e-3


def test_the_first_token_of_a_conversation_is_learned_from_nothing(adapted: Any) -> None:
    """Even where a row's first token carries loss: there is nothing before it."""
    made = [{"input_ids": row["input_ids"], "labels": row["input_ids"]} for row in rows(9, 11)]
    items = 8 + 10
    assert_same(adapted, packed(made), padded(made, 0), items)
    assert_same(adapted, packed(made), padded(made, 0))


def test_a_loss_of_nothing_is_zero(adapted: Any) -> None:
    loss, gradient = loss_and_gradient(adapted, padded([silent(rows(8)[0])], 0))
    assert loss == 0
    assert gradient.abs().max() == 0


def test_our_loss_is_the_models_own(adapted: Any) -> None:
    """The mean over all rows of a batch, as transformers defines it."""
    batch = padded(rows(17, 40, 23), 0)
    ours, _ = loss_and_gradient(adapted, batch)
    assert ours == pytest.approx(adapted(**batch).loss.item(), rel=1e-5)


# Training


@pytest.fixture
def trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Any, list[list[list[int]]]]]:
    """`trained(lengths, *settings)`: a trainer when done, and what each optimiser step saw."""
    from immune_train.sft import trainer

    real = trainer.answer_loss

    def run(lengths: Sequence[int], *more: str) -> tuple[Any, list[list[list[int]]]]:
        settings = [
            *(
                "max_length=64",
                "order=emitted",
                "logging_steps=1",
                "eval_strategy=no",
                "save_strategy=no",
            ),
            *("load_best_model_at_end=false", "num_train_epochs=1", "weight_decay=0.01", *more),
        ]
        loaded = configs.load("tiny", settings)
        seen: list[list[list[int]]] = []

        def spy(model: Any, inputs: dict[str, Any], items: Any = None) -> Any:
            step = made.state.global_step
            seen.extend([] for _ in range(step + 1 - len(seen)))
            if "cu_seq_lens_q" in inputs:
                borders = inputs["cu_seq_lens_q"].tolist()
                ids = inputs["input_ids"][0].tolist()
                seen[step] += [ids[a:b] for a, b in itertools.pairwise(borders)]
            else:
                masks = inputs["attention_mask"].bool()
                both = zip(inputs["input_ids"], masks, strict=True)
                seen[step] += [ids[mask].tolist() for ids, mask in both]
            return real(model, inputs, items)

        monkeypatch.setattr(trainer, "answer_loss", spy)
        taken = as_rows(lengths)
        made = trainer.make(
            *(loaded, model_of_few_words(), small_tokenizer(None), taken, taken[:3]),
            tmp_path / "run",
        )
        made.train()
        return made, seen

    return run


def losses(made: Any) -> list[float]:
    return [log["loss"] for log in made.state.log_history if "loss" in log]


LENGTHS = [33, 60, 12, 8, 41, 22, 64, 17, 30, 9]


def test_packed_steps_are_padded_steps(trained: Callable[..., Any]) -> None:
    """The same conversations at each optimiser step, and the same losses."""
    layout = ["per_device_train_batch_size=2", "gradient_accumulation_steps=2"]
    plain, plain_seen = trained(LENGTHS, *layout)
    packs, packs_seen = trained(LENGTHS, *layout, "packing=true")
    assert [len(step) for step in plain_seen] == [len(step) for step in packs_seen] == [4, 4, 2]
    assert [sorted(step) for step in packs_seen] == [sorted(step) for step in plain_seen]
    assert [ids for step in plain_seen for ids in step] == [
        row.input_ids for row in as_rows(LENGTHS)
    ]
    assert len(losses(plain)) == 3
    assert losses(packs) == pytest.approx(losses(plain), rel=1e-5)
    assert losses(plain)[0] != pytest.approx(losses(plain)[1], rel=1e-3)


def test_accumulation_is_one_large_batch(trained: Callable[..., Any]) -> None:
    """A step's loss is the mean of its tokens, however they are laid out."""
    large, _ = trained(LENGTHS, "per_device_train_batch_size=4")
    for way in ((1, 4), (2, 2)):
        batch, accumulation = way
        small, _ = trained(
            LENGTHS,
            f"per_device_train_batch_size={batch}",
            f"gradient_accumulation_steps={accumulation}",
        )
        assert losses(small) == pytest.approx(losses(large), rel=1e-5)
    assert len({row.supervised for row in as_rows(LENGTHS)}) > 5  # or any mean would do


def test_order(trained: Callable[..., Any]) -> None:
    """Emitted is the file's; shuffled is the seed's, and each conversation comes once."""
    asked = [row.input_ids for row in as_rows(LENGTHS)]

    def order(*settings: str) -> list[list[int]]:
        _, seen = trained(LENGTHS, "per_device_train_batch_size=5", *settings)
        return [ids for step in seen for ids in step]

    shuffled = order("order=shuffled")
    assert order("order=emitted") == asked
    assert shuffled != asked
    assert sorted(shuffled) == sorted(asked)
    assert order("order=shuffled") == shuffled
    assert order("order=shuffled", "seed=7") != shuffled
    packs = order("order=shuffled", "packing=true")
    assert sorted(packs[:5]) == sorted(shuffled[:5])
