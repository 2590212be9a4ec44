"""Typed errors of the log.

LedgerError
├── FormatError       bytes or text that are not in the form the specification prescribes
│   └── PathError     not the path of a tile or an entry bundle
├── BoundsError       an index, a size or a count outside the tree or over a limit
├── ProofError        a well-formed proof that does not lead to the root
├── SignatureError    no trusted signature, a wrong one, or too few cosignatures
├── MismatchError     stored tiles, entries and root contradict each other
├── HistoryError      an older checkpoint or receipt is not part of the history shown now
└── StaleSizeError    a witness has seen another size than the one it is asked to go on from
"""


class LedgerError(Exception):
    """The base of every error of this room."""


class FormatError(LedgerError):
    """The bytes or the text are not in the prescribed form."""


class PathError(FormatError):
    """The path names neither a tile nor an entry bundle."""


class BoundsError(LedgerError):
    """An index, a size or a count is outside the tree or over its limit."""


class ProofError(LedgerError):
    """The proof does not lead to the root it is checked against."""


class SignatureError(LedgerError):
    """The note carries no valid signature of a trusted key, or too few cosignatures."""


class MismatchError(LedgerError):
    """Tiles, entries and root of one log contradict each other: damaged or altered."""


class HistoryError(LedgerError):
    """The log no longer contains what it once signed: shortened or rewritten."""


class StaleSizeError(LedgerError):
    """The witness's newest checkpoint is of another `size`: prove from there."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the newest checkpoint that was cosigned is of size {size}; prove from there")
        self.size = size
