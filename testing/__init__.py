"""A kit for the tests of applications: pools without processes, and a cluster without machines.

``InlinePool`` runs each job when it is submitted, ``ManualPool`` when the test says so, and
``VirtualCluster`` is a whole cluster in one process, under a virtual clock; ``BlockingInlinePool``
stands in for ``ampacity.blocking.Pool``. Scheduler, sessions,
retries, time-outs, losses and errors are those of the real thing in all three; only the processes
that would run the jobs are not there. What they do is up to the test: ``Runs``, ``Returns``,
``Raises``, ``Crashes``, ``Hangs``.

Importing this installs no reactor, and none has to run: the kit works with pytest-twisted, with
trial, and with plain synchronous tests, where ``result_of`` reads what has a result by now.
"""

from ..coordinator.settings import Settings
from .blockinginline import BlockingInlinePool
from .cluster import VirtualCluster
from .doings import Crashes, Hangs, Raises, Returns, Runs
from .inline import InlinePool, NeverEnds
from .machines import CoordinatorMachine, VirtualMachine, WorkerMachine
from .manual import Execution, ManualPool, NothingWaits
from .results import NotFired, result_of

__all__ = [
    "BlockingInlinePool",
    "CoordinatorMachine",
    "Crashes",
    "Execution",
    "Hangs",
    "InlinePool",
    "ManualPool",
    "NeverEnds",
    "NotFired",
    "NothingWaits",
    "Raises",
    "Returns",
    "Runs",
    "Settings",
    "VirtualCluster",
    "VirtualMachine",
    "WorkerMachine",
    "result_of",
]
