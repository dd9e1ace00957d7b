"""Stand-in for cfft: a map from coefficients, or from amplitudes with phase probabilities."""

import gemmi
import numpy as np
from phasing import centroid
from tools import Column, Table, keywords

lines = {line[0]: line[-1] for line in keywords()}
labels = {name: value.split("[")[1].strip("]").split(",") for name, value in lines.items()
          if name.startswith("colin")}
table = Table.read(lines["mtzin"])
if "colin-fc" in labels:
    f, phi = (table.columns[label].values for label in labels["colin-fc"])
else:
    hl = np.stack([table.columns[label].values for label in labels["colin-hl"]], axis=1)
    operations = table.spacegroup.operations()
    centric = np.array([operations.is_reflection_centric(h) for h in table.hkl.tolist()])
    phi, fom = centroid(np.nan_to_num(hl), centric)
    f = table.columns[labels["colin-fo"][0]].values * fom
table.columns = {"F": Column("F", "x", "d", 1.0, np.nan_to_num(f)),
                 "P": Column("P", "x", "d", 1.0, np.nan_to_num(phi))}
table.write("cfft_standin.mtz")
ccp4 = gemmi.Ccp4Map()
ccp4.grid = gemmi.read_mtz_file("cfft_standin.mtz").transform_f_phi_to_map("F", "P", sample_rate=3)
ccp4.update_ccp4_header()
ccp4.write_ccp4_map(lines["mapout"])
