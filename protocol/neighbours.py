"""Whether a peer is a process of the same user on this machine: of UNIX sockets the kernel says so.

Such a peer can read what is ours anyway, and write to it: a large value need not be copied for it.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .connection import Connection

_CREDENTIALS = struct.Struct("3i")
"""Of Linux: process, user, group."""


def is_same_user(connection: Connection) -> bool:
    """False wherever that is not known for certain."""
    handle = getattr(getattr(connection, "transport", None), "getHandle", None)
    if handle is None or not hasattr(socket, "SO_PEERCRED"):
        return False
    peer = handle()
    if getattr(peer, "family", None) != socket.AF_UNIX:
        return False
    try:
        told = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except OSError:
        return False
    _, user, _ = _CREDENTIALS.unpack(told)
    return bool(user == os.geteuid())
