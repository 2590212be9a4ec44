"""Why something sealed cannot be sealed or opened."""


class KeyFailure(Exception):
    """The base of what keys raise."""


class KeyWithdrawn(KeyFailure):
    """The organization withdrew its key, or the token that holds it does not give it any more."""

    def __init__(self, organization_id: str, cause: str) -> None:
        self.organization_id = organization_id
        self.cause = cause
        super().__init__(
            f"the key of {organization_id} is withdrawn ({cause}); its administrator restores it"
        )


class KeyUnavailable(KeyFailure):
    """A key cannot be had now, or is lost. Nothing is known to be wrong with what it sealed."""


class TokenFailure(KeyUnavailable):
    """A token does not give a key. The message is for the key's own tenant, who can see to it."""


class SealBroken(KeyFailure):
    """What is sealed does not open: a changed or moved row, or another key of the same name."""
