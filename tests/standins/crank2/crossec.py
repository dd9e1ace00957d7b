"""Stand-in for crossec: f' and f'' of an element at given wavelengths."""

import gemmi
from tools import keywords

lines = {line[0].upper(): line[1:] for line in keywords()}
name = lines["ATOM"][0]
for wavelength in lines["NWAV"][1:]:
    energy = gemmi.hc / float(wavelength)
    f_prime, f_double_prime = gemmi.cromer_liberman(gemmi.Element(name).atomic_number, energy)
    print(f" {name}  {float(wavelength):.5f}  {f_prime:.4f}  {f_double_prime:.4f}")
