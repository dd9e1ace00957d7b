"""The whole path on real data with the packaged model: sites, phases, masks, a better map."""

import pytest

from crank2_unet.training.evaluation.benchmark_measured import benchmark_set

pytestmark = pytest.mark.realdata


# Xe: phased from F(+), F(-) and sites by this package; Se: weak phases as they come.  A network that
# is worse than the classical mask, or solvent content by a wrong rule, would fail.
@pytest.mark.parametrize("name, from_sites, gained", [("gamma_xe", True, 0.25),
                                                      ("5xfd_se_sad@2.8", False, 0.05)])
def test_network_mask_is_worth_having(shared_data, name, from_sites, gained):
    result = benchmark_set(name, str(shared_data / "sad"), None, 5, from_sites, [(5.0, 2.0)])
    cc = {method: scores["cc"] for method, scores in result["methods"].items()}
    assert cc["unet"] > cc["start"] + gained
    assert cc["unet"] > cc["variance"] - 0.01  # what another seed of the training changes
    assert abs(result["solvent"] - result["solvent_true"]) < 0.1
