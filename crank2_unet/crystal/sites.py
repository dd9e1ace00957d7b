"""Sites of a substructure as a structure."""

from __future__ import annotations

from collections.abc import Iterable

import gemmi


def model_of_sites(atoms: Iterable[gemmi.Atom]) -> gemmi.Model:
    """Atoms as sites: one residue "SUB" each, in chain "S", counted from 1."""
    chain = gemmi.Chain("S")
    for number, atom in enumerate(atoms, 1):
        residue = gemmi.Residue()
        residue.name, residue.seqid, residue.het_flag = "SUB", gemmi.SeqId(str(number)), "H"
        residue.add_atom(atom)
        chain.add_residue(residue)
    model = gemmi.Model(1)
    model.add_chain(chain)
    return model
