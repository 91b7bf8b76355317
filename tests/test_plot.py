"""Axes: they hold what they are given, with a few round ticks."""

import pytest

from study.report.plot import Axis, linear, logarithmic, stretched


def labels(axis: Axis) -> list[str]:
    return [text for _, text in axis.ticks]


@pytest.mark.parametrize("values", [[0.9], [0.0], [0.0, 0.0], [0.87, 64.0], [12.3, 12.4, 99.0]])
def test_an_axis_holds_whatever_errors_there_are(values: list[float]) -> None:
    axis = stretched("RMSE", values)
    places = [axis.at(value) for value in values]
    assert all(0 <= place < 1 for place in places)
    ticks = [axis.at(value) for value, _ in axis.ticks]
    assert ticks == sorted(ticks)
    assert len(ticks) > 2
    assert all(0 <= tick <= 1 for tick in ticks)
    assert [float(text) for _, text in axis.ticks] == pytest.approx([v for v, _ in axis.ticks])


def test_axes_have_a_few_round_ticks() -> None:
    assert labels(linear("", 0.87, 0.97)) == ["0.88", "0.90", "0.92", "0.94", "0.96"]
    assert labels(linear("", 0, 3000))[:3] == ["0", "500", "1,000"]
    assert labels(logarithmic("", 1, 100)) == ["1", "2", "5", "10", "20", "50", "100"]
    assert labels(logarithmic("", 1e-3, 0.3))[0] == "0.001"
    for low, high in ((0, 1), (0.123, 0.456), (7, 7), (-3, 400)):
        assert 3 <= len(linear("", low, high).ticks) <= 9
    for high in (2, 30, 500, 1e5):
        assert 2 <= len(logarithmic("", 1, high).ticks) <= 8
