"""The example through density modification with three masks: what each makes of the map.

    python compare_masks.py [CYCLES]

Phases the example's Friedel mates with its sites, then modifies the density with the network's masks,
with classical ones and with that of the true model, and compares the maps with the true one.
"""

import sys
import tempfile
from pathlib import Path

import gemmi
import numpy as np

from crank2_unet.crystal.filters import soften
from crank2_unet.crystal.masks import model_mask
from crank2_unet.crystal.model_factors import model_structure_factors
from crank2_unet.crystal.phases import map_correlation, mean_phase_error, phi_fom_from_hl, to_complex
from crank2_unet.files.mtz_input import read_phased
from crank2_unet.jobs.phase import run_phase
from crank2_unet.modification.cycles import modify_density
from crank2_unet.modification.region_weights import fixed_weights, variance_weights
from crank2_unet.network.session import SolventNet
from crank2_unet.pipeline import network_weights, segment
from crank2_unet.solvent.matthews import Composition

HERE = Path(__file__).parent


def main(cycles: int = 10) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run_phase(str(HERE / "example.mtz"), folder, str(HERE / "sites.pdb"), "Se")
        data = read_phased(Path(folder) / "phased.mtz").data
    reflections, measured = data.reflections, np.isfinite(data.f)
    model = gemmi.read_structure(str(HERE / "model.pdb"))
    true_phi = np.rad2deg(np.angle(model_structure_factors(model, reflections)))[measured]
    net = SolventNet.load(device="cpu")
    found = segment(data, net, Composition.from_file(HERE / "sequence.fasta"))
    content = found.solvent.value
    print(f"solvent content {content:.3f} ({found.solvent.rule})")
    masks = {"network": network_weights(data, net, content),
             "local variance": variance_weights(data, content),
             "true model": fixed_weights(soften(model_mask(model, found.density), 1.0))}

    def show(name: str, phi: np.ndarray, fom: np.ndarray) -> None:
        f, phi, fom = data.f[measured], phi[measured], fom[measured]
        correlation = map_correlation(to_complex(fom * f, phi), to_complex(f, true_phi),
                                      reflections.multiplicity[measured])
        print(f"{name:15s} phase error {mean_phase_error(phi, true_phi):5.1f} degrees, "
              f"map correlation {correlation:.3f}")

    show("start", *phi_fom_from_hl(data.hl, reflections.allowed_phase))
    for name, weights in masks.items():
        modified = modify_density(data, weights, cycles)
        show(name, modified.phi, modified.fom)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
