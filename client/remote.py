"""A coordinator over a connection that comes and goes."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import attrs
from twisted.internet import threads
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from ..protocol import commands
from ..protocol.access import AccessFolder
from ..protocol.addresses import Address, parse_address
from ..protocol.blobs import BlobFolder
from ..protocol.dialing import Greeted, dial
from ..protocol.errors import AmpacityError, BadOption, Disconnected, NoCoordinator, Refused
from ..protocol.ids import JobId
from ..protocol.jobs import BlobRef, Submission, pack_submissions
from ..protocol.outcomes import JobLog, unpack_deliveries, unpack_log
from ..protocol.ports import Accepted, ClientPort
from ..protocol.tokens import Token, parse_token
from ..protocol.transfers import download, upload
from .session import Session

T = TypeVar("T")

_FIRST_WAIT = 0.1
_LONGEST_WAIT = 10.0
