"""Stand-in for pdbcur: deletes and renames atoms of a substructure, applies a symmetry operator."""

import gemmi
from tools import arguments, keywords

files, structure = arguments(), None
structure = gemmi.read_structure(files["XYZIN"])
for words in keywords():
    name = words[0].upper()
    atoms = [cra for cra in structure[0].all()]
    if name == "DELA":
        element = words[1].strip("[]:*").upper()
        for cra in atoms:
            if cra.atom.element.name.upper() == element:
                cra.residue.remove_atom(cra.atom.name, cra.atom.altloc, cra.atom.element)
        print(f" {len(atoms) - structure[0].count_atom_sites()} atoms were deleted.")
    elif name == "SYMO":
        operator = gemmi.Op(words[1])
        for cra in atoms:
            x = structure.cell.fractionalize(cra.atom.pos).tolist()
            cra.atom.pos = structure.cell.orthogonalize(gemmi.Fractional(*operator.apply_to_xyz(x)))
    elif name == "CUTO":
        structure.remove_empty_chains()
    elif name == "RENC":
        for chain in structure[0]:
            chain.name = "W"
    elif name == "SUMM":
        for chain in structure[0]:
            print(f' Chain "{chain.name}" has {len(chain)} residues, of which')
structure.write_pdb(files["XYZOUT"])
