"""Training data from the PDB: search, download, phasing, exclusions (paper, section 2.1)."""
