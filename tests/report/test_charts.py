"""Charts: where points are, which axes, what is not drawn."""

import xml.etree.ElementTree as ET

import pytest
from report_results import NASTY, full_result

from crank2_unet.report.charts import Axis, Chart, Curve
from crank2_unet.report.plots import (
    certainty_chart,
    cycle_plots,
    phasing_plots,
    resolution_plots,
    solvent_chart,
)


def drawn(chart):
    return ET.fromstring(chart.svg)


def test_points_are_where_their_values_are():
    chart = Chart(NASTY, "fom", Axis("x", 0, 10, [(0, "0"), (10, "10")]), Axis("y", 0, 1, [(0, "0")]),
                  [Curve(NASTY, [0, 5, 10], [0.0, 0.5, None])])
    points = drawn(chart).findall("circle")
    (x0, y0), (x1, y1) = ((float(p.get("cx")), float(p.get("cy"))) for p in points)
    assert len(points) == 2 and x0 < x1 < 200 and y1 < y0
    assert points[1].find("title").text == f"{NASTY}: 0.5"
    assert drawn(chart).get("aria-label") == f"{NASTY}: {NASTY} from 0 to 0.5"


@pytest.mark.parametrize("low, high, ends, ticks", [
    (0, 1, (0, 1), ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
    (0, 34, (0, 40), ["0", "10", "20", "30", "40"]),
    (-0.13, 1, (-0.25, 1), ["-0.25", "0", "0.25", "0.5", "0.75", "1"]),
    (0, 0.037, (0, 0.04), ["0", "0.01", "0.02", "0.03", "0.04"])])
def test_axes_end_at_round_numbers(low, high, ends, ticks):
    axis = Axis.linear("", low, high)
    assert (axis.low, axis.high) == pytest.approx(ends)
    assert [text for _, text in axis.ticks] == ticks


@pytest.mark.parametrize("d_min", [0.8, 1.5, 2.4, 3.4, 6.0, 12.0])
def test_resolution_goes_from_coarse_to_fine_with_room_for_numbers(d_min):
    axis = Axis.of_resolution(d_min)
    values = [value for value, _ in axis.ticks]
    assert values == sorted(values) and (axis.low, axis.high) == (0, d_min ** -2)
    assert [float(text) ** -2 for _, text in axis.ticks] == pytest.approx(values)
    assert all(b - a > 0.08 * axis.high for a, b in zip(values, values[1:]))
    assert 1 <= len(values) < 12


def test_only_what_changes_is_plotted():
    plots = cycle_plots(full_result()["cycles"])
    assert [(c.title, len(c.curves)) for c in plots.charts] == [
        ("Figure of merit", 1), ("Agreement with amplitudes", 2), ("Trust", 1), ("Phase change", 1)]
    assert plots.sentences == ["Trust, given phases: 1.00 in all cycles."]
    assert "ncs_correlation" not in plots.rows[0] and "gamma" in plots.rows[0]
    trust = plots.charts[2]
    assert trust.legend == [("curve-0", "agreement with amplitudes")] and not plots.charts[0].legend


def test_charts_mark_where_reflections_beyond_the_data_begin():
    cycles = full_result()["cycles"]
    limits = zip(cycles, (2.4, 2.4, 1.92))
    charts = cycle_plots([{**cycle, "d_min": limit} for cycle, limit in limits]).charts
    assert charts and all(chart.marks == [(2.5, "then filled in to 1.92 Å")] for chart in charts)
    assert not any(chart.marks for chart in cycle_plots(cycles).charts)


def test_shares_go_from_0_to_1_and_further_down_only_where_values_are():
    plots = resolution_plots(full_result()["shells"])
    ranges = {chart.title: (chart.y.low, chart.y.high) for chart in plots.charts}
    assert ranges["Figure of merit"] == ranges["Sigma-A"] == (0, 1)
    assert ranges["Agreement with amplitudes"][0] < 0
    assert ranges["Phase change from the start"] == (0, 50)
    assert [len(chart.curves) for chart in plots.charts] == [1, 1, 2, 1]  # too few centric ones
    assert plots.rows[0]["acentric_fom"] == 0.8 and "centric_fom" not in plots.rows[0]


def test_nothing_is_drawn_of_nothing():
    assert cycle_plots([]).charts == resolution_plots([]).charts == phasing_plots([]).charts == []
    assert solvent_chart({"value": 0.5}) is None and certainty_chart({}) is None


def test_histogram_marks_the_solvent():
    chart = certainty_chart(full_result()["mask"])
    bars = drawn(chart).findall("rect")
    assert len(bars) == 20 and sum("marked" in bar.get("class") for bar in bars) == 9
    assert chart.legend == [("mark", "solvent from 0.52 on")]
