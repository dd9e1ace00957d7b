"""Some hundred damaged files of all kinds; ``count.py`` beside this file tries as many as one likes."""

import pytest

pytest.importorskip("hypothesis")

from fuzz.damaged import KINDS, try_one  # noqa: E402
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_file_is_read_or_refused(kind, tmp_path):
    outcomes = set()

    @settings(max_examples=100, deadline=None, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck))
    @given(st.data())
    def case(data):
        outcomes.add(try_one(kind, data.draw(KINDS[kind][1]), tmp_path))

    case()
    assert "refused" in outcomes
