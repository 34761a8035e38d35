"""What the jobs of these tests do."""

from __future__ import annotations

import ctypes
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path


def add(a, b=0):
    return a + b


def say(text, error=""):
    print(text)
    if error:
        print(error, file=sys.stderr)
    return text


def leave(code):
    os._exit(code)


def die(number):
    os.kill(os.getpid(), number)
    time.sleep(10)


def crash():
    ctypes.string_at(0)


def hog_within(limit):
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return len(bytearray(limit))


def grow(marks, megabytes, group=None):
    """Say so, and take ever more memory; in a control group, where one is given."""
    if group is not None:
        Path(group, "cgroup.procs").write_text(str(os.getpid()))
    print("growing")
    print("to the end", file=sys.stderr)
    taken = []
    for _ in range(megabytes // 10):
        taken.append(bytearray(os.urandom(1 << 10) * (10 << 10)))
        time.sleep(0.03)
    Path(marks).write_text("grown")
    time.sleep(60)


def print_apart(times):
    for _ in range(times):
        print("a line")
        time.sleep(0.05)


def last_words(code):
    print("to nobody")
    print("goodbye", file=sys.stderr)
    time.sleep(0.6)
    os._exit(code)


class Odd(Exception):
    def __init__(self, first, second):
        super().__init__(first)
        self.lock = threading.Lock()


class Unloadable(Exception):
    def __init__(self, first, second):
        super().__init__(first)


class Interesting(Exception):
    pass


def fail_with(name):
    if name == "Odd":
        raise Odd("one", "two")
    if name == "Unloadable":
        raise Unloadable("one", "two")
    if name == "Interesting":
        raise Interesting("very")
    if name == "chained":
        try:
            raise KeyError("inner")
        except KeyError as e:
            raise ValueError("outer") from e
    if name == "SystemExit":
        sys.exit(3)
    if name == "KeyboardInterrupt":
        raise KeyboardInterrupt
    raise ValueError(name)


def lock():
    return threading.Lock()


def large(size):
    return b"x" * size


def length(data):
    return len(data)


def where():
    return str(Path.cwd()), sys.path[0], os.getpid()


def environment(name):
    return os.environ.get(name)


def spoil():
    """Change what a job may change, and rely on nobody to put it back."""
    os.environ["SPOILT"] = "yes"
    os.environ.pop("HOME", None)
    os.chdir("/")
    sys.path.insert(0, "/spoilt")
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115
    os.close(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    return os.getpid()


def state():
    return [os.environ.get("SPOILT"), "HOME" in os.environ, str(Path.cwd()), sys.path[0]]


def pid():
    return os.getpid()


def mark(path):
    with Path(path).open("a") as file:
        file.write("x")


def mark_and_wait(path, seconds):
    mark(path)
    time.sleep(seconds)


def perform(path, deed="state", *args):
    """One of the other deeds: to who estimates how long a job takes, they are all one."""
    mark(path)
    return globals()[deed](*args)


def nap(seconds):
    time.sleep(seconds)


def raw(stream, text):
    """Print past everything that Python knows."""
    os.write(stream, text.encode())


def mark_and_spin(path):
    mark(path)
    while True:
        pass


def stubborn(path):
    """Python that takes no notice of SIGINT."""
    mark(path)
    while True:
        try:
            while True:
                time.sleep(0.01)
        except KeyboardInterrupt:
            continue


def very_stubborn(path):
    """C code that runs for ever and never looks at signals."""
    mark(path)
    all(itertools.repeat(True))


def polite(path):
    """One that clears up when it is interrupted."""
    mark(path)
    try:
        time.sleep(60)
    finally:
        print("cleared up")


def close_everything():
    os.closerange(3, 50)
    time.sleep(60)


def leave_with_grandchild(code):
    """Die while a process outside the group holds every descriptor open."""
    if os.fork() == 0:
        os.setsid()
        time.sleep(3)
        os._exit(0)
    os._exit(code)


def leave_process_behind(seconds):
    return subprocess.Popen(["sleep", str(seconds)]).pid


def printing_process():
    subprocess.Popen(["sh", "-c", "sleep 0.2; echo late"])


def forked_copy():
    if os.fork() == 0:
        return "copy"
    time.sleep(0.1)
    return "original"


def c_print(text):
    ctypes.CDLL(None).printf(b"%s", text.encode())


def write_through(text):
    os.write(1, text.encode())
    subprocess.run(["sh", "-c", f"echo {text} from a process"], check=True)


def flood(megabytes):
    data = b"x" * 1024 * 1024
    os.write(1, b"first")
    for _ in range(megabytes):
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]
    os.write(1, b"last")


def talk_for_ever(path):
    while True:
        os.write(1, b"y" * 65536)
        mark(path)


def scratch():
    Path("made.txt").write_text("here")
    return str(Path.cwd()), sorted(path.name for path in Path.cwd().iterdir())


def sleep_with_family(path):
    """Run with a child process of its own, in the same group."""
    process = subprocess.Popen(["sleep", "60"])
    Path(path).write_text(f"{os.getpid()} {process.pid}")
    process.wait()


def set_up():
    os.environ["WAS_SET_UP"] = "yes"
    print("setting up")


def bad_set_up():
    raise RuntimeError("no licence for this")


not_callable = 3


class Outer:
    class Inner:
        @staticmethod
        def deep():
            return "deep"
