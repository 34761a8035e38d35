"""Visits pages of a local service without waiting for answers, and tells what came back.

``python visit.py http://127.0.0.1:8080 /one /two``: ``/path=FILE`` sends a file, ``/path!0.5``
goes away after half a second.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

APART = 0.25


def visit(host: str, wish: str) -> str:
    path, _, patience = wish.partition("!")
    path, _, file = path.partition("=")
    connection = HTTPConnection(host, timeout=float(patience or 60))
    body = Path(file).read_bytes() if file else None
    try:
        connection.request("POST" if file else "GET", path, body)
        response = connection.getresponse()
        text = response.read().decode().strip()
        return f"{path}: {response.status} {text}"
    except TimeoutError:
        return f"{path}: went away"
    finally:
        connection.close()


def main(base: str, *wishes: str) -> None:
    host = base.removeprefix("http://")
    with ThreadPoolExecutor(len(wishes)) as visitors:
        visits = []
        for wish in wishes:
            visits.append(visitors.submit(visit, host, wish))
            time.sleep(APART)  # they come in this order
        for each in visits:
            print(each.result())


if __name__ == "__main__":
    main(*sys.argv[1:])
