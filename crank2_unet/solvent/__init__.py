"""How much of a crystal is solvent, and how many copies of the molecule it holds."""
