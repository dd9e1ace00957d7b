"""Stand-in for bp3, which Crank2 asks for the version of CCP4."""

print(" CCP4 software suite: library version 9.0 (stand-in)")
