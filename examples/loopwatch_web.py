"""A web service that hashes passwords in its loop, and how that is found.

python loopwatch_web.py           serves http://127.0.0.1:8080/ until Ctrl-C
python loopwatch_web.py visit     visits itself a few times, and tells what was found
"""

from __future__ import annotations

import hashlib
import hmac
import re
import sys
from typing import Any
from urllib.request import urlopen

from ampacity import LoopWatch
from ampacity.loopwatch import Held
from twisted.internet import endpoints, task
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.web.resource import Resource
from twisted.web.server import Site

SALT = b"a pinch"
USERS: dict[str, bytes] = {}


def hash_of(password: str) -> bytes:
    """Slow on purpose, as it should be: whoever steals the hashes has to guess for long."""
    return hashlib.scrypt(password.encode(), salt=SALT, n=2**16, r=8, p=1, maxmem=2**27)


class Front(Resource):
    def render_GET(self, request: Any) -> bytes:
        return b"good day\n"


class Login(Resource):
    def render_GET(self, request: Any) -> bytes:
        name, password = (request.args[key][0].decode() for key in (b"name", b"password"))
        known = hmac.compare_digest(USERS.get(name, b""), hash_of(password))
        return b"come in\n" if known else b"who are you?\n"


def blame(held: Held) -> None:
    """Called in a thread of the watch, while the loop still hangs, once for each place."""
    *_, caller, its_line, place, line = held.stack.splitlines()
    print("the loop is held:", *map(without_folders, (caller, its_line, place, line)), sep="\n")


def without_folders(text: str) -> str:
    return re.sub(r"(?<=File \").*/|^/.*/", "", text)


def tell(watch: LoopWatch) -> None:
    lag = watch.summary()
    print(f"lag: {lag['p50'] * 1e3:.0f} ms mostly, {lag['max'] * 1e3:.0f} ms at most")
    for held in watch.held:
        print(without_folders(str(held)))


async def serve(reactor: Any, port: int) -> str:
    """Serve; the address."""
    pages: dict[bytes, Any] = {b"": Front, b"login": Login}
    root = Resource()
    for path, page in pages.items():
        root.putChild(path, page())
    listening = endpoints.TCP4ServerEndpoint(reactor, port, interface="127.0.0.1")
    address = (await listening.listen(Site(root))).getHost()
    return f"http://127.0.0.1:{address.port}/"


async def visit(reactor: Any, address: str) -> None:
    for path in ["", "login?name=ada&password=lace", "login?name=ada&password=lovelace", ""]:
        await task.deferLater(reactor, 0.2)
        page = await deferToThread(read, address + path)
        print(f"/{path}: {page}")


def read(address: str) -> str:
    with urlopen(address) as page:
        text: str = page.read().decode()
    return text.strip()


async def main(reactor: Any, *words: str) -> None:
    USERS["ada"] = hash_of("lovelace")
    watch = LoopWatch(reactor, bound=0.05, report=blame)
    watch.start()
    if words == ("visit",):
        await visit(reactor, await serve(reactor, 0))
        tell(watch)
    else:
        print(await serve(reactor, 8080))
        reactor.addSystemEventTrigger("before", "shutdown", tell, watch)
        await Deferred()


if __name__ == "__main__":
    task.react(lambda reactor, *words: Deferred.fromCoroutine(main(reactor, *words)), sys.argv[1:])
