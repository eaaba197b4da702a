"""Why an action was refused: a code for programs, a sentence for people. One class, many codes."""

from enum import StrEnum
from typing import Self


class Code(StrEnum):
    """The codes of the contract (docs/contract.md), each with its status where a form was sent.
    Raised by rules, translated once per door."""

    status: int

    TOO_FAST = "too_fast", 429
    TOO_LONG = "too_long", 400
    EMPTY = "empty", 400
    CLOSED = "closed", 409
    SIGN_IN_REQUIRED = "sign_in_required", 403
    NOT_ALLOWED = "not_allowed", 403
    NOT_FOUND = "not_found", 404
    MALFORMED = "malformed", 400
    TRY_AGAIN = "try_again", 503

    def __new__(cls, word: str, status: int) -> Self:
        code = str.__new__(cls, word)
        code._value_ = word
        code.status = status
        return code


class Refused(Exception):  # noqa: N818  nothing failed: an answer, not an error
    """An action that breaks a rule. Nothing was changed.

    Arguments: the code; a sentence for the person, already translated; for limits, after how many
    whole seconds the same action would be taken.
    """

    def __init__(self, code: Code, sentence: str, *, retry_after: int | None = None) -> None:
        super().__init__(code, sentence)
        self.code = code
        self.sentence = sentence
        self.retry_after = retry_after
