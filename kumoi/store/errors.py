"""What the store refuses. `app` turns these into answers, loops into another try."""


class StoreError(Exception):
    """The base of what the store raises."""


class DuplicateRow(StoreError):
    """A row with this key is there already. `table` names the table."""

    def __init__(self, table: str) -> None:
        self.table = table
        super().__init__(f"a row with the same key is in {table} already")


class MissingReference(StoreError):
    """A row refers to one that does not exist."""


class ImpossibleState(StoreError):
    """The schema refused the state; the caller has a defect."""


class StaleState(StoreError):
    """A compare-and-swap found another state or version than expected. Read again and decide again."""


class FenceLost(StoreError):
    """The lease under which the write was made is not held any more. The writer of it must stop."""


class KeyReused(StoreError):
    """The idempotency key was used for another request."""


class StoreBusy(StoreError):
    """The store did not answer in time, or another process holds it."""
