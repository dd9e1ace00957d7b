"""Stand-in for mapro: correlation of a map with its local deviation, and skewness."""

import sys

import gemmi
import numpy as np

words = sys.argv[1:]
ccp4 = gemmi.read_ccp4_map(words[words.index("-mapin") + 1])
ccp4.setup(0.0)
density = ccp4.grid.array / ccp4.grid.array.std()
squares = density**2
for axis in range(3):  # mean over a box of 5 points
    squares = sum(np.roll(squares, shift, axis) for shift in range(-2, 3)) / 5
deviation = np.sqrt(squares)
correlation = np.corrcoef(density.ravel(), deviation.ravel())[0, 1]
print(f" Correlation of the map with its local deviation is {correlation:.5f}\n"
      f" Skewness of the map is {np.mean(density**3):.5f}")
