"""NCS operators from heavy-atom sites and from the chains of a model."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, permutations

import gemmi
import numpy as np

from .ncs import NcsAverager
from .ncs_operator import Operator

SITES_RADIUS = 9.0  # Angstrom; wider than for good maps, since those with sites are poor
_TOLERANCE = 2.0  # Angstrom, of distances between sites: some are misplaced, chains differ a little
_NEIGHBOURS = 24  # of a site, that are compared with those of another
_CORNERS = 7  # nearest neighbours of a site, of which triangles are formed
_MOST_SITES = 60  # sites taken into account, the strongest
_MOST_MATCHES = 500  # superpositions taken into account, the best
_MOST_OPERATORS = 16  # of them that differ and are tried against the map
_AS_THEY_ARE = 3  # a cycle in which NcsAverager does not refine operators
# Of the asymmetric unit, in which densities must agree: a relation that holds over more is a
# pseudo-symmetry of the crystal, or of the sites and hence of the errors of SAD phases (seen on
# gamma-adaptin, which has one copy, and insulin with zinc).
_LEAST_SHARE, _MOST_SHARE = 0.1, 2.0
# Of the density with its copy there: of maps after some cycles, at full resolution, true operators have
# 0.23 to 0.9, false ones at most 0.19.
LEAST_CORRELATION = 0.2
# Degrees and Angstrom: operators closer than this are one, and those so close to a symmetry of the
# crystal tell nothing new.
_SAME, _CRYSTALLOGRAPHIC = (6.0, 3.0), (12.0, 10.0)
# Copies of a chain differ by less than _CHAIN_RMSD (Angstrom) over so many residues; from _LOOSE on
# it is worth to leave out what differs most.
_CHAIN_RMSD, _LOOSE, _LEAST_RESIDUES = 2.0, 0.2, 16


def operators_from_sites(sites: gemmi.Structure, density: gemmi.FloatGrid,
                         radius: float = SITES_RADIUS, least_share: float = _LEAST_SHARE,
                         ) -> list[Operator]:
    """Operators that superpose the surroundings of heavy-atom sites and that the map confirms.

    The map should be some cycles old: in SAD maps as phased the errors round all sites are alike, and
    any superposition of sites seems right.  Three sites near one site and three near another fix an
    operator if their distances agree; it is worth the more, the more neighbours then coincide.

    Parameters
    ----------
    sites : all atoms are sites.
    density : map in which the density must agree.
    radius : of the sphere of local correlation, Angstrom.
    least_share : of the asymmetric unit in which it must agree.

    Returns
    -------
    Operators and their inverses, no two the same by crystal symmetry, best first.
    """
    found = distinct(_candidates(sites, density)[:_MOST_MATCHES], density)[:_MOST_OPERATORS]
    return confirmed(found, density, radius, least_share)


def confirmed(operators: Sequence[Operator], density: gemmi.FloatGrid, radius: float,
              least_share: float = _LEAST_SHARE, most: float = 1.0) -> list[Operator]:
    """Those of the operators that the map confirms once they are refined.

    Parameters
    ----------
    operators : no two the same.
    density, radius, least_share : see :func:`operators_from_sites`.
    most : correlation beyond which it is no copies that agree.

    Returns
    -------
    Operators and their inverses, no two the same by crystal symmetry, best first.
    """
    found = list(operators)
    if not found:
        return []
    # as they are, few agree anywhere; refined twice, those that are the same show it, and those that
    # are a symmetry of the crystal
    averager = NcsAverager(found, density, radius)
    for cycle, least in ((_AS_THEY_ARE, least_share / 5), (1, least_share), (1, least_share)):
        averager.operators = found
        averager.measure(density, cycle)
        worth = averager.statistics
        order = sorted(range(len(found)), key=lambda i: -worth[i].volume)
        found = [averager.operators[i] for i in order if least < worth[i].volume < _MOST_SHARE
                 and LEAST_CORRELATION <= worth[i].correlation <= most
                 and not is_symmetry(averager.operators[i], density)]
    return with_inverses(distinct(found, density), density)


def operators_from_chains(model: gemmi.Structure, density: gemmi.FloatGrid) -> list[Operator]:
    """Operators between chains of the same sequence, both ways for each pair."""
    model = model.clone()
    model.setup_entities()
    found = []
    for one, other in permutations(model[0], 2):
        one_span, other_span = one.get_polymer(), other.get_polymer()
        if min(len(one_span), len(other_span)) < _LEAST_RESIDUES:
            continue
        kind = one_span.check_polymer_type()
        if kind != other_span.check_polymer_type():
            continue
        chains = other_span, one_span, kind, gemmi.SupSelect.CaP
        fit = gemmi.calculate_superposition(*chains)
        if fit.rmsd > _LOOSE:  # without loops and domains that differ
            fit = gemmi.calculate_superposition(*chains, trim_cycles=3)
        if fit.count >= _LEAST_RESIDUES and fit.rmsd < _CHAIN_RMSD:
            source = np.array(one.calculate_center_of_mass().tolist())
            rotation = np.array(fit.transform.mat.tolist())
            target = rotation @ source + np.array(fit.transform.vec.tolist())
            found.append(Operator(rotation, source, target))
    return [operator for operator in found if not is_symmetry(operator, density)]


def _candidates(sites: gemmi.Structure, grid: gemmi.FloatGrid) -> list[Operator]:
    """Operators between the surroundings of two sites, those with most coincidences first."""
    atoms = sorted((cra.atom for cra in sites[0].all()), key=lambda atom: -atom.occ)[:_MOST_SITES]
    positions = np.array([atom.pos.tolist() for atom in atoms])
    copies, owners = _copies(positions, grid)
    around = []
    for centre in positions:
        nearest = np.argsort(np.linalg.norm(copies - centre, axis=1))[:_NEIGHBOURS]
        around.append((copies[nearest], owners[nearest]))
    scored = []
    for i, j in combinations(range(len(positions)), 2):
        scored += _superpositions(*around[i], *around[j])
    scored.sort(key=lambda entry: entry[0])
    return [operator for _, operator in scored if not is_symmetry(operator, grid)]


def _copies(positions: np.ndarray, grid: gemmi.FloatGrid) -> tuple[np.ndarray, np.ndarray]:
    """Sites in the cell and those round it by symmetry, orthogonal, and the number of each site."""
    orth, frac = (np.array(t.mat.tolist()) for t in (grid.unit_cell.orth, grid.unit_cell.frac))
    fractional = positions @ frac.T
    cells = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    turned = np.concatenate([
        (fractional @ (np.array(op.rot) / op.DEN).T + np.array(op.tran) / op.DEN) % 1.0
        for op in grid.spacegroup.operations()])
    # the given positions may lie in any cell: bring the lattice to them
    base = np.floor(fractional.mean(axis=0))
    copies = (turned + base + cells).reshape(-1, 3) @ orth.T
    number = len(turned) // len(positions)
    return copies, np.tile(np.tile(np.arange(len(positions)), number), len(cells))


def _superpositions(here: np.ndarray, here_owner: np.ndarray, there: np.ndarray,
                    there_owner: np.ndarray) -> list[tuple[tuple, Operator]]:
    """(score, operator) of each match of triangles at two sites that more sites confirm.

    The first site of each list is the one the list surrounds.  The lower a score the better: first
    the number of coincidences, then how well they coincide.
    """
    count = min(_CORNERS + 1, len(here), len(there))
    triangles = np.array([(0, *pair) for pair in combinations(range(1, count), 2)])
    ordered = np.array([(0, *pair) for pair in permutations(range(1, count), 2)])
    if not len(triangles):
        return []

    def edges(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
        a, b, c = np.moveaxis(points[corners], 1, 0)
        return np.stack([np.linalg.norm(x - y, axis=1) for x, y in ((a, b), (a, c), (b, c))], axis=1)
    difference = np.abs(edges(here, triangles)[:, None] - edges(there, ordered)).max(axis=2)
    results = []
    for one, other in np.argwhere(difference < _TOLERANCE):
        corners, images = triangles[one], ordered[other]
        if len(set(here_owner[corners])) < 3 or len(set(there_owner[images])) < 3:
            continue
        pairs = _extended(here, there, corners, images)
        if len(set(here_owner[pairs[:, 0]])) < 3:
            continue
        operator, rmsd = _superpose(here[pairs[:, 0]], there[pairs[:, 1]])
        results.append(((-len(pairs), rmsd), operator))
    results.sort(key=lambda entry: entry[0])
    return results[:3]


def _extended(here: np.ndarray, there: np.ndarray, corners: np.ndarray, images: np.ndarray,
              ) -> np.ndarray:
    """Pairs (m, 2) of sites that coincide after superposition, starting from three."""
    pairs = np.stack([corners, images], axis=1)
    for _ in range(3):
        operator, _ = _superpose(here[pairs[:, 0]], there[pairs[:, 1]])
        distance = np.linalg.norm(operator.apply(here)[:, None] - there, axis=2)
        nearest = distance.argmin(axis=1)
        mutual = distance.argmin(axis=0)[nearest] == np.arange(len(here))
        close = np.flatnonzero(mutual & (distance.min(axis=1) < _TOLERANCE))
        if len(close) < 3:
            return pairs
        pairs = np.stack([close, nearest[close]], axis=1)
    return pairs


def _superpose(here: np.ndarray, there: np.ndarray) -> tuple[Operator, float]:
    """Operator that brings points (n, 3) onto others, and the rms distance left."""
    source, target = here.mean(axis=0), there.mean(axis=0)
    u, _, vt = np.linalg.svd((there - target).T @ (here - source))
    rotation = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    operator = Operator(rotation, source, target)
    return operator, float(np.sqrt(np.mean(np.sum((operator.apply(here) - there) ** 2, axis=1))))


def with_inverses(operators: Sequence[Operator], grid: gemmi.FloatGrid) -> list[Operator]:
    """The operators and those inverses that are not among them."""
    return distinct([*operators, *(operator.inverse() for operator in operators)], grid)


def distinct(operators: Sequence[Operator], grid: gemmi.FloatGrid,
             tolerance: tuple[float, float] = _SAME) -> list[Operator]:
    """The first of those that are the same; ``tolerance`` as in :func:`equal_by_symmetry`."""
    out: list[Operator] = []
    for operator in operators:
        if not any(equal_by_symmetry(operator, known, grid, tolerance) for known in out):
            out.append(operator)
    return out


def is_symmetry(operator: Operator, grid: gemmi.FloatGrid) -> bool:
    """Whether the operator is about one of the crystal, or a translation of the lattice."""
    here = Operator(np.eye(3), operator.source, operator.source)
    return equal_by_symmetry(operator, here, grid, _CRYSTALLOGRAPHIC)


def equal_by_symmetry(one: Operator, other: Operator, grid: gemmi.FloatGrid,
                      tolerance: tuple[float, float] = _SAME) -> bool:
    """Whether two operators are the same but for crystal symmetry before and after.

    Parameters
    ----------
    one, other : operators.
    grid : of the crystal.
    tolerance : degrees, and Angstrom at the source of ``one``.
    """
    orth, frac = (np.array(t.mat.tolist()) for t in (grid.unit_cell.orth, grid.unit_cell.frac))
    operations = list(grid.spacegroup.operations())
    turns = np.array([orth @ (np.array(op.rot) / op.DEN) @ frac for op in operations])
    shifts = np.array([orth @ (np.array(op.tran) / op.DEN) for op in operations])

    def nearest(vectors: np.ndarray) -> np.ndarray:
        """Vectors (..., 3) less the lattice translation that leaves least of them."""
        apart = vectors @ frac.T
        return (apart - np.rint(apart)) @ orth.T
    # our source, seen from the nearest copy of the other's source, in the other's own setting
    seen = nearest(one.source - (turns @ other.source + shifts))
    images = other.apply(other.source + np.einsum("aji,aj->ai", turns, seen))
    # index a: symmetry before the operator, b: after it
    rotations = np.einsum("bij,jk,alk->abil", turns, other.rotation, turns)
    cosine = (np.einsum("ij,abij->ab", one.rotation, rotations) - 1) / 2
    apart = nearest(np.einsum("bij,aj->abi", turns, images) + shifts - one.target)
    return bool(np.any((cosine > np.cos(np.deg2rad(tolerance[0])))
                       & (np.linalg.norm(apart, axis=-1) < tolerance[1])))
