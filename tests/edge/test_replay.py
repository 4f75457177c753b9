"""An answer that is replayed is written as it was given, whatever the model would choose."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import pytest
from edge import random_gguf
from hypothesis import example, given
from hypothesis import strategies as st

from immune_data.contract.tokens import encoding, text_ids, token_bytes
from immune_data.contract.vocabulary import END
from immune_train.edge.engine import LocalModel
from immune_train.edge.grounded import Shown
from immune_train.edge.replay import Replay
from immune_train.edge.writing import Prompt

pytestmark = pytest.mark.usefixtures("kept_models")

EVIDENCE = "A scan of port 22 by 10.0.0.7."


def text_of(ids: Sequence[int]) -> str:
    return b"".join(map(token_bytes, ids)).decode()


@example("\uf900", 0, False)  # NFC has another character for it,
@example("e\u0301", 0, False)  # and one for both of these.
@example("\U00012345", 0, True)  # It takes three tokens.
@given(st.text(alphabet=st.characters(codec="utf-8")), st.integers(0), st.booleans())
def test_it_is_gone_on_with_however_it_was_cut(answer: str, cut: int, within: bool) -> None:
    """A heading that was forced may end within what would be a token, or within a character."""
    written = unicodedata.normalize("NFC", answer)
    cut %= len(written) + 1
    ids = text_ids(written[:cut])
    if within and cut < len(written):
        ids.append(encoding().encode_single_token(written[cut].encode()[:1]))
    replay = Replay(answer)
    while (token := replay.after(ids)) != END:
        ids.append(token)
        assert len(ids) <= len(written.encode())
    assert b"".join(map(token_bytes, ids)) == written.encode()


def test_what_went_another_way_has_as_many_tokens() -> None:
    answer = "one two three four five"
    ids = text_ids("something else")
    replay = Replay(answer)
    while (token := replay.after(ids)) != END:
        ids.append(token)
    assert len(ids) == len(text_ids(answer))


@pytest.mark.parametrize("drafts", [False, True])
def test_a_model_writes_what_it_is_given(shared_folder, drafts: bool) -> None:
    model = LocalModel(random_gguf(shared_folder), 512, threads=1)
    ids = text_ids(f"{EVIDENCE} What happened?")
    answers = ["A scan of port 22 by 10.0.0.7.", "It was 10.0.0.7 again.", ""]
    prompts = [Prompt(ids, 60, None, Shown(EVIDENCE), answer) for answer in answers]
    for side_by_side in (False, True):
        given = model.answers(prompts, drafts=drafts, side_by_side=side_by_side)
        assert [one.text for one in given] == answers
        assert [one.finish for one in given] == ["stop"] * 3
    # What the evidence does not show is not written, even so.
    (other,) = model.answers([Prompt(ids, 60, None, Shown(EVIDENCE), "It was 10.9.9.9.")])
    assert "10.9.9.9" not in other.text
