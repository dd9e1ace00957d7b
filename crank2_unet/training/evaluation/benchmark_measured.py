"""What masks are worth: density modification of real SAD data with masks from several sources."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import gemmi
import numpy as np

from ...crystal.filters import soften
from ...crystal.grids import asymmetric_unit, empty_grid, resample
from ...crystal.maps import CrystalMap, standard_spacing
from ...crystal.masks import cut_at_fraction, flat_mask, model_mask
from ...crystal.model_factors import model_structure_factors
from ...crystal.observations import PhasedData
from ...crystal.phases import (
    angle_degrees,
    map_correlation,
    mean_phase_error,
    phi_fom_from_hl,
    to_complex,
)
from ...crystal.reflections import Reflections
from ...errors import InputError
from ...files.mtz_input import read_anomalous, read_phased
from ...files.output import staged, write_json
from ...modification.cycles import modify_density
from ...modification.region_weights import (
    RegionWeights,
    VarianceWeights,
    fixed_weights,
    variance_weights,
)
from ...network.session import SolventNet
from ...pipeline import network_weights, segment
from ...sad.phasing import Scatterer, phase_sad
from ...solvent.matthews import Composition
from ..parallel import run_all
from ..preparation.prepared import PreparedStructure
from .metrics import Confusion, format_table

RADII = (4.0, 6.0)  # Angstrom, of the local variance
BLURS = (1.0, 2.0)  # Angstrom, of the variance mask
_TRUE_BLURS = (1.0, 2.0)  # Angstrom; soft edges are worth more than sharp ones, for the true mask too
_COLUMNS = "HLA_SAD,HLB_SAD,HLC_SAD,HLD_SAD"
# correlation; where the model's mask gains less, the share of its gain is noise
_LEAST_GAIN = 0.03
METHODS = ("start", "variance", "best variance", "unet", "true mask", "flat mask")


@dataclass(frozen=True)
class Case:
    """A data set with its true phases and solvent mask.

    Parameters
    ----------
    data : experimental phases.
    phi_true : (n,) degrees.
    truth : true solvent mask, 1 = solvent, on any grid.
    composition : of one copy.
    solvent : true solvent content, of the modelled mass.
    """

    data: PhasedData
    phi_true: np.ndarray
    truth: gemmi.FloatGrid
    composition: Composition
    solvent: float

    @classmethod
    def read(cls, folder: Path, d_min: float | None = None, from_sites: bool = False) -> Case:
        """Read ``data.mtz``, ``model.pdb.gz``, ``sequence.fasta`` and ``meta.json`` of a folder.

        The truth is that of the model, with bulk solvent.

        Parameters
        ----------
        d_min : resolution to cut at, Angstrom; default: all data.
        from_sites : phases by :func:`~crank2_unet.sad.phasing.phase_sad` from Friedel mates and
            ``sites.pdb``; default: the Hendrickson-Lattman coefficients HLA_SAD to HLD_SAD.
        """
        data = _phased_from_sites(folder) if from_sites else read_phased(
            folder / "data.mtz", "F,SIGF", _COLUMNS).data
        data = cut_resolution(data, d_min) if d_min else data
        reflections = data.reflections
        model = _in_crystal(folder / "model.pdb.gz", reflections)
        grid = empty_grid(reflections.cell, reflections.spacegroup, standard_spacing(reflections.d_min))
        meta = json.loads((folder / "meta.json").read_text())
        return cls(data, angle_degrees(model_structure_factors(model, reflections)),
                   model_mask(model, grid), Composition.from_file(folder / "sequence.fasta"),
                   meta["validation"]["solvent_content_matthews"])

    @classmethod
    def of_prepared(cls, path: str | Path) -> Case:
        """The experiment of a prepared file; all its residues are one copy."""
        prepared = PreparedStructure.read(path)
        return cls(prepared.data, prepared.phi_true, prepared.truth,
                   Composition.from_residues(prepared.n_residues), prepared.solvent_matthews)

    @property
    def flat(self) -> gemmi.FloatGrid:
        """Where the true density is flat: :func:`~crank2_unet.crystal.masks.flat_mask`."""
        true = to_complex(np.nan_to_num(self.data.f), self.phi_true)
        return flat_mask(self.data.reflections, true, self.truth)

    def scores(self, phi: np.ndarray, fom: np.ndarray) -> dict[str, float]:
        """Phase errors (degrees), correlation of the m|F| map with the true one, mean fom."""
        measured = np.isfinite(self.data.f)
        f, phi, fom, true = (x[measured] for x in (self.data.f, phi, fom, self.phi_true))
        return {"phase_error": mean_phase_error(phi, true),
                "weighted_error": mean_phase_error(phi, true, f),
                "cc": map_correlation(to_complex(fom * f, phi), to_complex(f, true),
                                      self.data.reflections.multiplicity[measured]),
                "fom": float(fom.mean())}

    def mask_mcc(self, weights: gemmi.FloatGrid) -> float:
        """MCC of region weights, cut so that their mean stays, with the true mask."""
        mask = cut_at_fraction(weights, float(weights.array.mean()), lowest=False)
        truth = resample(self.truth, weights)
        return Confusion.of_masks(mask.array, truth.array, asymmetric_unit(weights)).mcc

    def modify(self, weights: RegionWeights, cycles: int) -> dict[str, float]:
        """Scores after density modification, MCC of the first and the last mask included."""
        mcc = {}

        def recorded(current: CrystalMap, cycle: int) -> gemmi.FloatGrid:
            found = weights(current, cycle)
            if cycle in (1, cycles):
                mcc[cycle] = self.mask_mcc(found)
            return found
        result = modify_density(self.data, recorded, cycles)
        return {**self.scores(result.phi, result.fom), "mcc_first": mcc[1], "mcc_last": mcc[cycles]}


def compare_masks(case: Case, net: SolventNet, cycles: int, grid: Sequence[tuple[float, float]],
                  ) -> dict:
    """Density modification of one data set with all masks, everything else equal.

    All have the solvent content that the program estimates; only the true masks, that of the model and
    that of flat density, have their own.

    Parameters
    ----------
    grid : radius and blur, Angstrom, of each variance mask that is tried beside the default one.

    Returns
    -------
    d_min, solvent (as used), solvent_rule, solvent_true; methods (name -> scores); variances (scores
    of each of ``grid``) and share, see :func:`share_of_gain`.
    """
    data, reflections = case.data, case.data.reflections
    found = segment(data, net, case.composition)
    content = found.solvent.value
    variances = [{"radius": radius, "blur": blur,
                  **case.modify(VarianceWeights(content, radius, blur), cycles)}
                 for radius, blur in grid]
    default = case.modify(variance_weights(data, content), cycles)
    true_masks = {name: _best([case.modify(fixed_weights(soften(resample(mask, found.density), blur)),
                                           cycles) for blur in _TRUE_BLURS])
                  for name, mask in (("true mask", case.truth), ("flat mask", case.flat))}
    methods = {
        "start": case.scores(*phi_fom_from_hl(data.hl, reflections.allowed_phase)),
        "variance": default,
        "best variance": _best([default, *variances]),
        "unet": case.modify(network_weights(data, net, content), cycles), **true_masks}
    return {"d_min": reflections.d_min, "solvent": content, "solvent_rule": found.solvent.rule,
            "solvent_true": case.solvent, "methods": methods, "variances": variances,
            "share": share_of_gain(*(methods[m]["cc"] for m in METHODS[2:5]))}


def _best(candidates: Sequence[dict]) -> dict:
    return max(candidates, key=lambda scores: scores["cc"])


def benchmark_sad(folder: str | Path, card: str | Path | None, out: str | Path,
                  sets: Sequence[str] | None = None, cycles: int = 10, from_sites: bool = False,
                  workers: int = 1, scheduler: str | None = None, radii: Sequence[float] = RADII,
                  blurs: Sequence[float] = BLURS) -> dict:
    """Density modification with masks by variance, by the network and of the model.

    All but the mask of the model have the solvent content that the program estimates with the
    sequence.  The best radius and blur of the variance mask are chosen by the final correlation
    with the model, for each set by itself: no user could do as well.  So is the blur of the true masks.

    Parameters
    ----------
    folder : holds a folder for each data set; see :meth:`Case.read`.
    card : of the network; None: the packaged one.
    out : folder for ``benchmark.json`` and ``benchmark.png``.
    sets : names of data sets; "name@2.8" cuts the data at 2.8 Angstrom.  Default: all, uncut.
    cycles : of density modification.
    from_sites : see :meth:`Case.read`.
    workers, scheduler : see :func:`~crank2_unet.training.parallel.run_all`.
    radii, blurs : Angstrom, tried for the variance mask.

    Returns
    -------
    The report, as in ``benchmark.json``; :func:`render` shows it.
    """
    folder = Path(folder).resolve()
    sets = sets or sorted(path.parent.name for path in folder.glob("*/data.mtz"))
    card = card and str(Path(card).resolve())
    jobs = {name: (name, str(folder), card, cycles, from_sites, tuple(product(radii, blurs)))
            for name in sets}
    results, failures = run_all(benchmark_set, jobs, workers, scheduler)
    report = {"cycles": cycles, "from_sites": from_sites, "sets": results, "failures": failures}
    with staged(out) as stage:
        write_json(report, stage / "benchmark.json")
        plot(report, stage / "benchmark.png")
    return report


def benchmark_set(name: str, folder: str, card: str | None, cycles: int, from_sites: bool,
                  grid: Sequence[tuple[float, float]]) -> dict:
    """:func:`compare_masks` of one data set."""
    code, _, cut = name.partition("@")
    case = Case.read(Path(folder) / code, float(cut) if cut else None, from_sites)
    return compare_masks(case, SolventNet.load(card, "cpu", threads=1), cycles, grid)


def share_of_gain(variance: float, unet: float, true: float) -> float | None:
    """Share of the gain of the model's mask over the best variance mask that the network's mask keeps.

    Arguments are map correlations; None if the model's mask gains next to nothing.
    """
    return (unet - variance) / (true - variance) if true - variance >= _LEAST_GAIN else None


def cut_resolution(data: PhasedData, d_min: float) -> PhasedData:
    """Data without the reflections beyond a resolution limit, Angstrom.

    Raises
    ------
    InputError : the data do not reach that far.
    """
    old = data.reflections
    if d_min < old.d_min:
        raise InputError(f"The data extend to {old.d_min:.2f} A only and cannot be cut at "
                         f"{d_min:g} A. Give a larger value.")
    new = Reflections(old.cell, old.spacegroup, d_min)
    place = old.find(new.hkl)
    return PhasedData(new, *(values[place] for values in (data.f, data.sigf, data.hl,
                                                          data.coefficients)))


def _phased_from_sites(folder: Path) -> PhasedData:
    """SAD phases from the sites, taken to be of the element most of them have."""
    _, data, _ = read_anomalous(folder / "data.mtz")
    if data.wavelength is None:
        raise InputError(f"{folder / 'data.mtz'} does not say the wavelength.")
    sites = _in_crystal(folder / "sites.pdb", data.reflections)
    element = Counter(cra.atom.element.name for cra in sites[0].all()).most_common(1)[0][0]
    phased = phase_sad(data, sites, Scatterer.at_wavelength(element, data.wavelength))
    return PhasedData(data.reflections, phased.f, phased.sigf, phased.hl, phased.coefficients)


def _in_crystal(path: Path, reflections: Reflections) -> gemmi.Structure:
    """A structure in the cell of the data, which differs from that of the file by rounding."""
    structure = gemmi.read_structure(str(path))
    structure.cell, structure.spacegroup_hm = reflections.cell, reflections.spacegroup.xhm()
    structure.setup_cell_images()
    return structure


def render(report: dict) -> str:
    """The report as one table in plain text; errors in degrees."""
    rows = []
    for name, result in report["sets"].items():
        for method in METHODS:
            found = result["methods"][method]
            shown = (f"best variance {found['radius']:g}/{found['blur']:g} A" if "radius" in found
                     else method)
            rows.append([name, result["d_min"], result["solvent"], result["solvent_true"], shown,
                         *(found.get(key) for key in ("phase_error", "weighted_error", "cc", "fom",
                                                      "mcc_first", "mcc_last")),
                         result["share"] if method == "unet" else None])
    table = format_table(["set", "d_min", "solvent", "true", "mask", "error", "F-weighted", "cc",
                          "fom", "mcc first", "mcc last", "share"], rows)
    failed = [f"{name} failed: {message}" for name, message in report["failures"].items()]
    return "\n".join([table, *failed])


def plot(report: dict, path: Path) -> None:
    """Bar chart of the map correlations of all sets and methods."""
    from matplotlib.figure import Figure

    sets = report["sets"]
    figure = Figure((3.0 + len(sets), 4.0), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(METHODS)
    for i, method in enumerate(METHODS):
        axes.bar(np.arange(len(sets)) + (i - 2.5) * width,
                 [result["methods"][method]["cc"] for result in sets.values()], width, label=method)
    axes.set_xticks(range(len(sets)), list(sets), rotation=30, ha="right")
    axes.set_ylabel("map correlation with the model")
    figure.legend(loc="outside upper center", ncols=3, fontsize="small")
    figure.savefig(path)
