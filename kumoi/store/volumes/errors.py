"""Why a volume cannot be used."""


class VolumeUnavailable(Exception):
    """The volume cannot be mounted now; the text says what is missing or in the way."""
