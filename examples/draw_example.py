"""Draws docs/images/example.png: one section of the example crystal as phased and after density
modification, with the outline of the solvent mask, and of the map of the model.

Run from the folder above, after the first command of README.md:
``env/bin/python examples/draw_example.py out docs/images/example.png``.
"""

import sys

import gemmi
import matplotlib.pyplot as plt
import numpy as np

import crank2_unet as cu
from crank2_unet.crystal.grids import resample
from crank2_unet.crystal.maps import CrystalMap
from crank2_unet.crystal.model_factors import model_structure_factors
from crank2_unet.crystal.phases import map_correlation
from crank2_unet.report.figures import telling_sections

folder, picture = sys.argv[1:]
phased = cu.read_phased(f"{folder}/phase/phased.mtz").data
modified = cu.read_phased(f"{folder}/dm/dm.mtz", colin_fc="FWT,PHWT", need_phases=False).data
mask = cu.read_map(f"{folder}/dm/mask.ccp4")
r = phased.reflections
model = gemmi.read_structure("examples/model.pdb")
truth = CrystalMap(r, model_structure_factors(model, r))

figure, axes = plt.subplots(1, 3, figsize=(9.6, 2.6), layout="constrained")
section = telling_sections(mask)[0]
for panel, title, seen in zip(axes, ("As phased", "After density modification", "The model's"),
                              (phased.map, CrystalMap(r, modified.coefficients), truth)):
    density = seen.density
    mean, sigma = density.array.mean(), density.array.std()
    cell = density.unit_cell
    extent = (0, cell.parameters[section.horizontal], 0, cell.parameters[section.vertical])
    panel.imshow(section.points(density.array), cmap="Greys", vmin=mean - sigma,
                 vmax=mean + 4 * sigma, origin="lower", extent=extent, interpolation="bilinear")
    panel.contour(section.points(resample(mask, density).array), [0.5], colors="#0b6bcb",
                  linewidths=1.2, extent=extent)
    cc = map_correlation(seen.coefficients, truth.coefficients, r.multiplicity)
    panel.set_title(title if seen is truth else f"{title}: correlation {cc:.2f}", fontsize=10)
    panel.set_xticks([])
    panel.set_yticks([])
figure.savefig(picture, dpi=110)
print(f"{picture}: {np.round(extent[1])} x {np.round(extent[3])} Angstrom")
