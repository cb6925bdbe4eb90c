"""The chart is well-formed, escaped and scaled."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.console.charts import HEIGHT, Bar, bar_chart, nice_top


@given(st.integers(0, 10**9))
def test_the_scale_holds_the_highest_bar_and_is_not_far_above(highest: int) -> None:
    top = nice_top(highest)
    assert max(highest, 4) <= top <= max(highest * 2.5, 4)


@given(
    st.lists(
        st.builds(
            Bar,
            st.text("ab<&\"'", max_size=5),
            st.text("ab<&\"'"),
            st.integers(0, 10**6),
            st.integers(0, 9),
        ),
        max_size=30,
    )
)
def test_any_bars_give_well_formed_svg_inside_its_box(bars: list[Bar]) -> None:
    root = ET.fromstring(bar_chart(bars, title="a<b&c"))  # noqa: S314 - our own text
    rects = root.findall(".//rect")
    assert len(rects) == len(bars)
    for rect in rects:
        assert float(rect.attrib["y"]) + float(rect.attrib["height"]) <= HEIGHT


@pytest.mark.parametrize(
    ("highest", "top"), [(0, 4), (4, 4), (5, 5), (11, 20), (41, 50), (99, 100)]
)
def test_round_tops(highest: int, top: int) -> None:
    assert nice_top(highest) == top
