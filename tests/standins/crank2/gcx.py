"""Stand-in for gcx: table of Matthews probabilities, and an XML file with the likeliest one."""

from pathlib import Path
from xml.sax.saxutils import escape

import gemmi
from tools import arguments, keywords

from crank2_unet.solvent.matthews import Composition, matthews_options

lines, sequence = keywords(), arguments()["SEQIN"]
mtz = gemmi.read_mtz_file(next(line[1] for line in lines if line[0].upper() == "MTZI"))
options = matthews_options(Composition.from_file(sequence), mtz.cell, mtz.spacegroup,
                           mtz.resolution_high())
best = max(options, key=lambda option: option.probability)
print(" Monomers  Matthews-Coeff  Solvent-content    Probability  $$ $$")
for option in options:
    print(f" {option.copies}  {option.vm:.3f}  {option.solvent:.3f}  {option.probability:.4f}")
print("$$")
letters = "".join(line for line in Path(sequence).read_text().splitlines() if line[:1] != ">")
found = {"solvent_content": f"{best.solvent:.3f}", "nmonomers": best.copies, "bfactor": 20.0,
         "residues": len(letters)}
Path("gcx.xml").write_text("<gcx><parameters>" + "".join(
    f"<{name}>{escape(str(value))}</{name}>" for name, value in found.items())
    + "</parameters></gcx>\n")
