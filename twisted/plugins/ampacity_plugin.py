"""``twist ampacity-coordinator`` and ``twist ampacity-worker``."""

from twisted.application.service import ServiceMaker

coordinator = ServiceMaker(
    "ampacity coordinator",
    "ampacity.cli.coordinator_tap",
    "The queue of an ampacity cluster.",
    "ampacity-coordinator",
)
worker = ServiceMaker(
    "ampacity worker",
    "ampacity.cli.worker_tap",
    "A worker of an ampacity cluster.",
    "ampacity-worker",
)
