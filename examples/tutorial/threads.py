"""Chapter 3. A thread for each message: good at waiting, no help with computing."""

from __future__ import annotations

import sys
import threading
import time

from mailroom import GOOD_NIGHT, WallClock, hang, render, take_mail


class Wall:
    """How many pictures hang, counted by many threads at once."""

    def __init__(self) -> None:
        self.careless = 0
        self.careful = 0
        self._lock = threading.Lock()

    def count_carelessly(self) -> None:
        seen = self.careless
        time.sleep(0)  # "another thread, please", which the interpreter may say at any place
        self.careless = seen + 1

    def count_carefully(self) -> None:
        with self._lock:
            self.careful += 1


def draw(message: str) -> None:
    hang(message, render(message))


def main() -> None:
    clock = WallClock()
    threads: list[threading.Thread] = []
    closing = False
    while not closing or any(thread.is_alive() for thread in threads):
        clock.tick()
        for message in take_mail():
            clock.mail_came()
            if message == GOOD_NIGHT:
                closing = True
                continue
            threads.append(threading.Thread(target=draw, args=(message,)))
            threads[-1].start()
        time.sleep(clock.EVERY)
    clock.close()


def wait_four_times() -> float:
    """The same with something that waits instead of computing: half a second, in four threads."""
    began = time.monotonic()
    threads = [threading.Thread(target=time.sleep, args=(0.5,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - began


def count_in_threads() -> Wall:
    """Eight threads count to a hundred each, on one wall."""
    wall = Wall()

    def count() -> None:
        for _ in range(100):
            wall.count_carelessly()
            wall.count_carefully()

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wall


if __name__ == "__main__":
    if sys.argv[1:] == ["wait"]:
        print(f"four waits of 0.50 s in four threads: {wait_four_times():.2f} s")
    elif sys.argv[1:] == ["count"]:
        wall = count_in_threads()
        print(f"800 pictures; with a lock we count {wall.careful}")
        print("without one, we have lost some" if wall.careless < 800 else "we were lucky")
    else:
        main()
