"""Large buffers of a pickle are mapped where they lie in its file."""

from __future__ import annotations

import array
import contextlib
import gc
import mmap
import pickle
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import numpy
import psutil
import pytest
from ampacity.client.buffers import dump
from ampacity.protocol import mapped
from ampacity.protocol.buffers import ALIGNED, LARGE
from ampacity.workers.results import Sink, pickle_into
from hypothesis import given
from hypothesis import strategies as st


class Holder:
    """Pickled as numpy's arrays are, with whatever buffer it has."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Holder, (pickle.PickleBuffer(self.data),)

    @property
    def kind(self) -> type:
        return type(self.data)

    @property
    def is_mapped(self) -> bool:
        return self.kind is memoryview and type(self.data.obj) is mmap.mmap


def floats(size: int = LARGE, first: float = 0.5) -> array.array[float]:
    numbers = array.array("d", [first])
    return numbers * (size // 8)


def view_of(numbers: array.array[float]) -> memoryview:
    return memoryview(numbers).toreadonly()


@pytest.fixture(autouse=True)
def however_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "MAPPED", LARGE)


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Writes a value as a child writes a result, and a call as a client writes it."""

    def as_result(value: Any) -> Path:
        sink = Sink(tmp_path / "result")
        pickle_into(sink, value, False)
        assert sink.close()[1] == str(tmp_path / "result")
        return tmp_path / "result"

    def as_call(value: Any) -> Path:
        packed, pieces = dump((value,), {})
        (tmp_path / "call").write_bytes(packed if pieces is None else b"".join(pieces))
        return tmp_path / "call"

    return {"a result": as_result, "a call": as_call}


WAYS = pytest.mark.parametrize("way", ["a result", "a call"])


def read(way: str, path: Path) -> Any:
    found = mapped.load(path)
    return found[0][0] if way == "a call" else found


@WAYS
def test_an_array_is_mapped_at_an_even_place(written: Any, way: str) -> None:
    path = written[way](["before", Holder(floats()), {"after": Holder(floats(first=2.0))}])
    _, one, more = read(way, path)
    for holder, first in ((one, 0.5), (more["after"], 2.0)):
        assert holder.is_mapped
        assert holder.data.cast("d")[0] == first and len(holder.data) == LARGE
        at = path.read_bytes().index(bytes(holder.data[: 2 * ALIGNED]))
        assert at % ALIGNED == 0


@WAYS
@pytest.mark.parametrize("read_file", [pickle.loads, pickle._loads], ids=["C", "Python"])  # type: ignore[attr-defined]  # the strict one
def test_who_knows_nothing_of_marks_reads_over_them(written: Any, way: str, read_file: Any) -> None:
    path = written[way]([Holder(floats()), Holder(view_of(floats()))])
    found = read_file(path.read_bytes())
    holders = found[0][0] if way == "a call" else found
    assert [holder.kind for holder in holders] == [bytearray, bytes]
    assert all(bytes(holder.data) == floats().tobytes() for holder in holders)


@WAYS
def test_what_is_written_to_it_does_not_reach_the_file(written: Any, way: str) -> None:
    path = written[way](Holder(floats()))
    before = path.read_bytes()
    one, other = read(way, path), read(way, path)
    one.data[:] = bytes(LARGE)
    assert path.read_bytes() == before
    assert bytes(other.data) == floats().tobytes()


@WAYS
def test_what_is_read_only_stays_so(written: Any, way: str) -> None:
    holder = read(way, written[way](Holder(view_of(floats()))))
    assert holder.is_mapped and holder.data.readonly


@WAYS
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_numpy(written: Any, way: str, order: Any) -> None:
    sent = numpy.asarray(numpy.arange(LARGE, dtype="f8").reshape(1024, -1), order=order)
    fixed: Any = numpy.arange(LARGE, dtype="i2")
    fixed.setflags(write=False)
    for found in read(way, written[way]([sent, fixed])):
        expected = sent if found.dtype == sent.dtype else fixed
        assert numpy.array_equal(found, expected) and found.shape == expected.shape
        assert found.flags.aligned and found.flags.writeable == expected.flags.writeable
        assert found.flags.f_contiguous == expected.flags.f_contiguous
        assert found.ctypes.data % ALIGNED == 0
        assert _is_mapped(found)


def _is_mapped(array: Any) -> bool:
    while isinstance(array.base, numpy.ndarray):
        array = array.base
    return type(memoryview(array.base).obj) is mmap.mmap


@WAYS
def test_the_file_may_go(written: Any, way: str) -> None:
    path = written[way](Holder(floats()))
    holder = read(way, path)
    path.unlink()
    assert bytes(holder.data) == floats().tobytes()


@WAYS
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_bytes_come_back_as_what_they_were(written: Any, way: str, kind: Any) -> None:
    data = kind(b"x" * LARGE)
    assert read(way, written[way](data)) == data
    assert type(read(way, written[way](data))) is kind
    assert read(way, written[way](Holder(data))).kind is kind


def test_bytes_beside_an_array(tmp_path: Path) -> None:
    data = b"x" * LARGE
    _, pieces = dump((data, Holder(floats())), {"more": 1})
    assert pieces is not None
    (tmp_path / "call").write_bytes(b"".join(pieces))
    (found, holder), more = mapped.load(tmp_path / "call")
    assert found == data and type(found) is bytes and more == {"more": 1}
    assert holder.is_mapped


@pytest.mark.parametrize(
    "value",
    [b"x" * 2 * LARGE, list(range(LARGE)), [Holder(floats())] * 3 + ["more"] * 100_000],
    ids=["bytes", "many numbers", "an array among many"],
)
def test_what_was_not_put_together_is_read_as_ever(written: Any, value: Any) -> None:
    found = read("a result", written["a result"](value))
    assert pickle.dumps(found, 5) == pickle.dumps(value, 5)


def test_small_files_and_those_of_other_machines_are_read(
    written: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written["a result"](Holder(floats()))
    monkeypatch.setattr(mapped, "is_network", lambda _: True)
    assert mapped.load(path).kind is bytearray
    monkeypatch.undo()
    assert path.stat().st_size < mapped.MAPPED
    assert mapped.load(path).kind is bytearray


def test_no_more_files_can_be_mapped(written: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written["a result"](Holder(floats()))

    def full(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(mmap, "mmap", full)
    assert mapped.load(path).kind is bytearray


def test_nothing_stays_when_the_array_is_gone(written: Any) -> None:
    path = written["a result"](Holder(floats()))
    process = psutil.Process()
    before = process.num_fds()
    holders = [mapped.load(path) for _ in range(5)]
    assert process.num_fds() == before + 5
    del holders
    gc.collect()
    assert process.num_fds() == before


def test_it_takes_no_memory_of_its_own(written: Any) -> None:
    path = written["a result"](Holder(floats(16 * LARGE)))
    tracemalloc.start()
    holder = mapped.load(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert holder.is_mapped and peak < LARGE


def test_in_many_threads_at_once(written: Any) -> None:
    path = written["a result"](Holder(floats()))
    found: list[bool] = []

    def one() -> None:
        holder = mapped.load(path)
        found.append(holder.is_mapped and bytes(holder.data) == floats().tobytes())

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8


@given(cut=st.integers(0, LARGE + 400), at=st.integers(0, 300), byte=st.integers(0, 255))
def test_a_file_that_is_damaged_is_refused_or_read_as_ever(
    tmp_path_factory: Any, cut: int, at: int, byte: int
) -> None:
    """Whatever is wrong with it, mapping finds nothing else in it than reading does."""
    folder = tmp_path_factory.mktemp("damaged")
    sink = Sink(folder / "result")
    pickle_into(sink, ["some", "words", floats()[:5], Holder(floats())], False)
    sink.close()
    data = bytearray((folder / "result").read_bytes())
    data[at] = byte
    (folder / "result").write_bytes(data[: max(cut, LARGE)])
    assert _what(lambda: mapped.load(folder / "result")) == _what(
        lambda: pickle.loads(data[: max(cut, LARGE)])
    )


def _what(load: Any) -> object:
    with contextlib.suppress(Exception):
        found = load()
        with contextlib.suppress(Exception):
            return [*found[:3], bytes(found[3].data)]
        return type(found)
    return None
