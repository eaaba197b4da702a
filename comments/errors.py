"""Why an action was refused: a code for programs, a sentence for people. One class, many codes."""

from enum import StrEnum


class Code(StrEnum):
    """The codes of the contract (docs/contract.md). Raised by rules, translated once per door."""

    TOO_FAST = "too_fast"
    TOO_LONG = "too_long"
    EMPTY = "empty"
    CLOSED = "closed"
    SIGN_IN_REQUIRED = "sign_in_required"
    NOT_ALLOWED = "not_allowed"
    NOT_FOUND = "not_found"
    MALFORMED = "malformed"
    TRY_AGAIN = "try_again"


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
