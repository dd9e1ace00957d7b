"""Solvent masks of protein crystals from a 3D U-net, for density modification.

The map segmentation of Skubák (2024), Acta Cryst. D80, 528-534.  The names in ``__all__`` are the
public interface (docs/python.md).  To read the code, start at :mod:`crank2_unet.pipeline`, which holds
the whole data flow on one page.
"""

__version__ = "0.3.0"

# Public name -> module that has it.  Nothing is loaded before a name is used: the import hook imports
# this package at every start of Python.
_WHERE = {
    "AnomalousData": "crystal.observations",
    "Composition": "solvent.matthews",
    "Crank2UnetError": "errors",
    "PhasedData": "crystal.observations",
    "Reflections": "crystal.reflections",
    "Scatterer": "sad.scatterer",
    "Segmentation": "pipeline",
    "SolventNet": "network.session",
    "fixed_weights": "modification.region_weights",
    "modify_density": "modification.cycles",
    "network_weights": "pipeline",
    "phase_sad": "sad.phasing",
    "read_anomalous": "files.mtz_input",
    "read_map": "files.maps",
    "read_phased": "files.mtz_input",
    "read_sites": "files.coordinates",
    "segment": "pipeline",
    "variance_weights": "modification.region_weights",
    "write_map": "files.maps",
    "write_phased": "files.mtz_output",
}
__all__ = list(_WHERE)


def __getattr__(name):
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__():
    return sorted({*globals(), *_WHERE})
