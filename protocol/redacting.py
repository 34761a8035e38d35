"""Text that may be shown: whatever looks like a token is taken out of it.

No message repeats a token on purpose. This is for those that repeat what somebody has typed, and
for tracebacks and log lines, which repeat anything.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(r"amp1\.[\w.-]{30,}", re.A)
"""A token, or so much of one that it could hold a part of the secret: the role and the hash of the
key, which come first, are longer than that."""


def redacted(text: str) -> str:
    """The text without tokens."""
    return _TOKEN.sub("amp1.(hidden)", text) if "amp1." in text else text
