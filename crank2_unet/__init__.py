"""Solvent masks of protein crystals from a 3D U-net, for density modification.

The map segmentation of Skubák (2024), Acta Cryst. D80, 528-534.  Start reading at
:mod:`crank2_unet.pipeline`, which holds the whole data flow on one page.
"""

__version__ = "0.1.0"
