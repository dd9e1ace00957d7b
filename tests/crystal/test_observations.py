import numpy as np
import pytest
from blob import blob, noisy


@pytest.mark.parametrize("d_min", [2.0, 3.0])
def test_data_in_the_list_of_reflections_to_another_limit(d_min):
    data = noisy(blob("C 1 2 1"))[0]
    other = data.at_resolution(d_min)
    assert other.reflections.d_min == d_min and len(other.f) == len(other.reflections)
    place = other.reflections.find(data.reflections.hkl)
    inside = place >= 0
    assert inside.sum() == min(len(data.f), len(other.f)) < max(len(data.f), len(other.f))
    for values in ("f", "sigf", "hl", "coefficients"):
        given, found = getattr(data, values), getattr(other, values)
        assert np.array_equal(found[place[inside]], given[inside]) and found.dtype == given.dtype
    new = np.setdiff1d(np.arange(len(other.f)), place)
    assert np.isnan(other.f[new]).all() and np.isnan(other.sigf[new]).all()
    assert not other.hl[new].any() and not other.coefficients[new].any()
    assert not other.known[new].any()
