"""What the benchmarks make of what they measured: percentiles, METG, ratios, tables, targets."""

from __future__ import annotations

import json
import math
from pathlib import Path

import attrs
import pytest
from ampacity.benchmarks import docs, durable
from ampacity.benchmarks.kit import spread, tables
from ampacity.benchmarks.kit.grain import durations, efficiency, metg, pieces, point
from ampacity.benchmarks.kit.kernel import LOOPS, Setting, Yardstick
from ampacity.benchmarks.kit.measured import Figure, Measured, from_plain, plain
from ampacity.benchmarks.kit.results import Results, read, write
from ampacity.benchmarks.kit.targets import TARGETS, judged
from ampacity.benchmarks.registry import ALL
from ampacity.benchmarks.ways import AS_DOCUMENTED, EXECUTOR, RAY, RELAY, TUNED, UNIX

# -- percentiles ----------------------------------------------------------------------------------


def test_a_percentile_is_one_of_the_samples() -> None:
    samples = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert spread.percentile(samples, 0.5) == 3.0
    assert spread.percentile(samples, 0.99) == 5.0
    assert spread.percentile(samples, 0.0) == 1.0
    assert spread.percentile([7.0], 0.999) == 7.0


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="nothing"):
        spread.percentile([], 0.5)


def test_the_bound_of_a_histogram() -> None:
    histogram = [(0.001, 98), (0.01, 1), (0.1, 1)]
    assert spread.bound(histogram, 0.5) == 0.001
    assert spread.bound(histogram, 0.99) == 0.01
    assert spread.bound(histogram, 1.0) == 0.1
    assert spread.bound([], 0.99) == 0.0


def test_histograms_add_up() -> None:
    assert spread.together([[(1, 2), (4, 1)], [(2, 5), (4, 2)]]) == [(1, 2), (2, 5), (4, 3)]


def test_the_tail_of_a_histogram_begins_with_everything() -> None:
    assert spread.beyond([(1.0, 3), (2.0, 1)]) == [(1.0, 1.0), (2.0, 0.25)]


def test_quantiles_rise_to_the_slowest_sample() -> None:
    points = spread.quantiles([float(n) for n in range(1000)])
    assert points[0] == (0.0, 0.0)
    assert points[-1][1] == 999.0
    assert points == sorted(points)
    assert spread.quantiles([]) == []


# -- METG -----------------------------------------------------------------------------------------


def test_durations_stand_at_even_distances() -> None:
    found = durations(1e-5, 1.0)
    assert len(found) == 11
    assert found[0] == pytest.approx(1e-5)
    assert found[-1] == pytest.approx(1.0)
    assert found[2] == pytest.approx(1e-4)


def test_efficiency_is_the_work_as_a_part_of_what_bare_processes_do() -> None:
    assert efficiency(loops=100e6, elapsed=2.0, speed=100e6) == pytest.approx(0.5)


def test_long_jobs_are_measured_in_pieces_of_two_a_slot_at_least() -> None:
    assert pieces(0.001, 1400, 2) == [1400]
    assert pieces(0.1, 40, 2) == [10, 10, 10, 10]
    assert pieces(1.0, 10, 2) == [4, 4, 2]


def test_each_piece_counts_by_the_speed_at_its_time() -> None:
    """Half of the time the machine is twice as fast; a fifth of either is lost."""
    seconds, part = point(8, 1, [(10, 1.0, 100.0), (20, 1.0, 200.0)])
    assert part == pytest.approx(0.8)
    assert seconds == pytest.approx(8 / 150)


def test_a_yardstick_answers_for_all_of_its_processes_and_as_often_as_asked() -> None:
    with Yardstick(2) as yardstick:
        setting = Setting(yardstick)
        assert setting.speed() > 2 * LOOPS  # in a second
        assert setting.speed() > 2 * LOOPS


def test_metg_of_a_constant_cost_is_that_cost() -> None:
    cost = 200e-6
    points = [
        (seconds, seconds / (seconds + cost)) for seconds in durations(1e-5, 1.0, a_decade=20)
    ]
    assert metg(points) == pytest.approx(cost, rel=0.01)


def test_metg_lies_between_two_points_by_their_logarithms() -> None:
    assert metg([(1e-4, 0.25), (1e-2, 0.75)]) == pytest.approx(1e-3)


def test_metg_is_counted_from_where_the_efficiency_stays() -> None:
    """A lucky point below does not count."""
    found = metg([(1e-4, 0.6), (1e-3, 0.4), (1e-2, 0.6)])
    assert found is not None
    assert 1e-3 < found < 1e-2


def test_metg_that_is_never_reached_is_none() -> None:
    assert metg([(1e-3, 0.1), (1e-2, 0.3)]) is None
    assert metg([]) is None


def test_metg_that_is_always_reached_is_the_shortest_job() -> None:
    assert metg([(1e-5, 0.7), (1e-4, 0.9)]) == 1e-5


# -- figures and tables ---------------------------------------------------------------------------


@pytest.fixture
def measured() -> Measured:
    found = Measured("bulk", "Jobs", base={"bulk": RELAY})
    found.add("bulk", UNIX, "jobs/s", [18_000, 22_000, 20_000], "more")
    found.add("bulk", RELAY, "jobs/s", [40_000], "more")
    found.add("one at a time, p50", UNIX, "s", [0.0015])
    found.curve("lag", "coordinator, bulk", ("lag, s", "ticks"), [(0.001, 10), (0.002, 1)])
    return found


def test_a_figure_knows_its_median_and_spread(measured: Measured) -> None:
    figure = measured.figure("bulk", UNIX)
    assert figure is not None
    assert (figure.median, figure.low, figure.high) == (20_000, 18_000, 22_000)


def test_what_has_no_values_is_no_figure(measured: Measured) -> None:
    measured.add("bulk", "nobody", "jobs/s", [])
    assert measured.figure("bulk", "nobody") is None


def test_a_measurement_survives_json(measured: Measured) -> None:
    assert from_plain(json.loads(json.dumps(plain(measured)))) == measured


def test_ratios_are_to_the_base(measured: Measured) -> None:
    assert tables.table_of(measured, "bulk") == [
        ["bulk", "median", "spread", "ratio"],
        [UNIX, "20,000 jobs/s", "18,000 jobs/s – 22,000 jobs/s", "0.50"],
        [RELAY, "40,000 jobs/s", "", "1.00"],
    ]


def test_a_figure_alone_has_no_ratio(measured: Measured) -> None:
    assert tables.table_of(measured, "one at a time, p50")[1] == [UNIX, "1.50 ms"]


def test_quantities_without_a_base_have_no_ratios(measured: Measured) -> None:
    measured.base["bulk"] = ""
    assert tables.table_of(measured, "bulk")[0] == ["bulk", "median", "spread"]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.00042, "s", "420 µs"),
        (1.5, "s", "1.50 s"),
        (3e-7, "s", "0.30 µs"),
        (1 << 30, "B", "1.00 GiB"),
        (398.4, "B", "398 B"),
        (1.5 * 2**20, "B/s", "1.50 MiB/s"),
        (31234.5, "jobs/s", "31,234 jobs/s"),
        (0, "B", "0 B"),
    ],
)
def test_amounts_are_read_by_people(value: float, unit: str, text: str) -> None:
    assert tables.amount(value, unit) == text


def test_a_table_in_markdown(measured: Measured) -> None:
    lines = tables.as_markdown(measured).splitlines()
    assert lines[:3] == [
        "| bulk | median | spread | ratio |",
        "|---|---:|---:|---:|",
        f"| {UNIX} | 20,000 jobs/s | 18,000 jobs/s – 22,000 jobs/s | 0.50 |",
    ]


# -- targets --------------------------------------------------------------------------------------


def run_of(**measured: Measured) -> Results:
    return Results(
        machine={
            "cpu": "a processor",
            "processors": 2,
            "memory": 24 << 30,
            "kernel": "Linux",
            "python": "CPython",
        },
        versions={"ampacity": "0"},
        date="2026-01-01",
        command="make bench",
        measured=measured,
    )


def judgement(what: str, *runs: Results) -> tuple[float | None, str]:
    found = next(one for one in judged(runs) if one.target.what == what)
    return found.value, found.reached


def test_a_target_is_a_ratio_of_medians(measured: Measured) -> None:
    assert judgement("bulk, to the bare relay", run_of(bulk=measured)) == (0.5, "no")


def test_what_was_not_measured_is_not_reached_nor_missed(measured: Measured) -> None:
    what = "bulk, to ProcessPoolExecutor.submit"
    assert judgement(what, run_of(bulk=measured)) == (None, "not measured")
    measured.add("bulk", EXECUTOR, "jobs/s", [5_000], "more")
    assert judgement(what, run_of(bulk=measured)) == (4.0, "yes")


def test_a_peer_is_taken_at_its_best() -> None:
    peers = Measured("peers_bulk", "Peers")
    for way, rate in (
        (UNIX, 20_000),
        (f"{RAY}, {AS_DOCUMENTED}", 1_000),
        (f"{RAY}, {TUNED}", 2_500),
    ):
        peers.add("bulk", way, "jobs/s", [rate], "more")
        peers.add("one at a time, p50", way, "s", [1 / rate])
    run = run_of(peers_bulk=peers)
    assert judgement("bulk, to Ray", run) == (8.0, "no")
    assert judgement("one at a time, p50, to Ray's", run) == (0.125, "yes")


def test_ratios_never_cross_runs(measured: Measured) -> None:
    """Ours of one run, a peer's of another: that is no ratio."""
    peers = Measured("peers_bulk", "Peers")
    peers.add("bulk", f"{RAY}, {TUNED}", "jobs/s", [1_000], "more")
    runs = run_of(bulk=measured), run_of(peers_bulk=peers)
    assert judgement("bulk, to Ray", *runs) == (None, "not measured")


def test_every_target_is_of_a_measurement_that_there_is() -> None:
    seen: set[str] = set()

    class Noting(Results):
        def figure(self, name: str, quantity: str, way: str) -> Figure | None:
            seen.add(name)
            return None

    nothing = run_of()
    judged([Noting(**attrs.asdict(nothing, recurse=False))])
    assert seen <= set(ALL)
    assert len(TARGETS) > 20
    assert all(math.isfinite(target.bound) for target in TARGETS)


# -- the page -------------------------------------------------------------------------------------


def test_a_run_survives_its_file(tmp_path: Path, measured: Measured) -> None:
    run = run_of(bulk=measured)
    write(run, tmp_path / "folder" / "bench.json")
    assert read(tmp_path / "folder" / "bench.json") == run


def test_the_page_is_filled_between_its_marks(measured: Measured) -> None:
    page = (
        "before\n<!-- bench: bulk -->\nold\n<!-- bench: end -->\nbetween\n"
        "<!-- bench: plot lag: how late -->\n<!-- bench: end -->\n"
        "<!-- bench: metg -->\n<!-- bench: end -->\n"
    )
    filled = docs.filled(page, [run_of(bulk=measured)], "performance", ["lag"])
    assert "old" not in filled
    assert f"| {UNIX} | 20,000 jobs/s |" in filled
    assert "![how late](performance/lag.svg)" in filled
    assert docs.NOTHING in filled
    assert filled.startswith("before\n<!-- bench: bulk -->\n\n|")
    assert docs.filled(filled, [run_of(bulk=measured)], "performance", ["lag"]) == filled


def test_the_lags_of_all_loads_are_one_table(measured: Measured) -> None:
    assert docs.lags([run_of(bulk=measured)]).splitlines()[2:] == [
        "| coordinator, bulk | 1.00 ms | 2.00 ms | 2.00 ms | 11 |"
    ]
    assert docs.lags([run_of()]) == docs.NOTHING


def test_the_summary_has_bulk_and_single_jobs_side_by_side(measured: Measured) -> None:
    measured.add("one at a time, p50", RELAY, "s", [0.001])
    assert docs.summary([run_of(bulk=measured)]).splitlines()[2:] == [
        f"| {UNIX} | 20,000 jobs/s | 0.50 | 1.50 ms | 1.00 |",
        f"| {RELAY} | 40,000 jobs/s | 1.00 | 1.00 ms | 0.67 |",
    ]


def test_syncs_are_counted_in_the_table_of_strace() -> None:
    table = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 99.00    0.043210         100       432           fdatasync
  1.00    0.000400          40        10         1 fsync
------ ----------- ----------- --------- --------- ----------------
100.00    0.043610                   442         1 total
"""
    assert durable.counted(table) == 442
