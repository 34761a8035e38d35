from pathlib import Path

from mill import Mill
from twisted.application.service import Application

application = Application("mill")
Mill(Path("inbox"), Path("outbox")).setServiceParent(application)
