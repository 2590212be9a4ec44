"""What may be the reference of an attempt. References become names of files, cgroups and machines."""

import re

_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,95}")


def ref_is_valid(ref: str) -> bool:
    """Whether `ref` is 1..96 letters, digits, hyphens and underscores, beginning with a letter or digit."""
    return _REF.fullmatch(ref) is not None
