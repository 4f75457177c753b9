"""An answer that is written to time it: the answer and its beginning in, the token to come out.

Of a model of random weights, or of two ways to write that should write the same.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from immune_data.contract.tokens import encoding, text_ids, token_bytes
from immune_data.contract.vocabulary import END


class Replay:
    """The answer, token by token.

    Where what is written is no beginning of it, as where a grammar does not let it through, the
    answer goes on with as many tokens as it would have had.
    """

    def __init__(self, answer: str) -> None:
        # As its tokens spell it.
        self._answer = unicodedata.normalize("NFC", answer).encode()
        self._ids = [*text_ids(answer), END]

    def after(self, ids: Sequence[int]) -> int:
        """The token that follows the first ones of the answer, which may be cut otherwise."""
        place = len(ids)
        if self._ids[:place] != list(ids):
            written = b"".join(map(token_bytes, ids))
            if self._answer.startswith(written):
                return _first(self._answer[len(written) :])
        return self._ids[place] if place < len(self._ids) else END


def _first(rest: bytes) -> int:
    """The token that begins the rest of an answer, which may begin within a character."""
    if not rest:
        return END
    if rest[0] & 0b1100_0000 == 0b1000_0000:
        return encoding().encode_single_token(rest[:1])
    return text_ids(rest.decode())[0]
