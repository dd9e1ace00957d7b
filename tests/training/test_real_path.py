"""The whole path on real data with the packaged model: sites, phases, masks, a better map."""

import pytest

from crank2_unet.network.model_card import ModelCard
from crank2_unet.training.evaluation.validate import Protocol, validate_entry

pytestmark = pytest.mark.realdata


# Xe: phased from F(+), F(-) and sites by this package; Se: weak phases as they come.  A network that
# is worse than the classical mask, or solvent content by a wrong rule, would fail.
@pytest.mark.parametrize("name, d_min, from_sites, gained", [("gamma_xe", None, True, 0.25),
                                                             ("5xfd_se_sad", 2.8, False, 0.05)])
def test_network_mask_is_worth_having(shared_data, name, d_min, from_sites, gained):
    protocol = Protocol(("network", "variance"), cycles=5, from_sites=from_sites)
    entry = validate_entry(str(shared_data / "sad" / name), d_min, str(ModelCard.read(None).path),
                           protocol)
    cc = {run: scores["cc"] for run, scores in entry["runs"].items()}
    assert cc["network"] > cc["start"] + gained
    assert cc["network"] > cc["variance"] - 0.01  # what another seed of the training changes
    assert abs(entry["solvent"]["network"] - entry["solvent"]["true"]) < 0.1
