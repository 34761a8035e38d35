"""Text that may be shown: whatever looks like a token is taken out of it.

No message repeats a token on purpose. This is for those that repeat what somebody has typed, and
for tracebacks and log lines, which repeat anything.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(r"amp1\.[\w.-]{30,}", re.A)
"""A token, or so much of one that it could hold a part of the secret: the role and the hash of the
key, which come first, are longer than that."""


def redacted_after(text: str) -> str:
    """What somebody has typed, up to where a token begins: pasted with a line's end in the middle,
    what is behind that is a part of it, too."""
    before, mark, after = text.partition("amp1.")
    return f"{before}amp1.(hidden)" if mark and len(after) >= _SHORT else text


_SHORT = 25
"""Characters after the first dot that hold no secret: the role and the key's hash come first."""


def redacted(text: str) -> str:
    """The text without tokens."""
    return _TOKEN.sub("amp1.(hidden)", text) if "amp1." in text else text
