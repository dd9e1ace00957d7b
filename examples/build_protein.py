"""Backbone of a four-helix bundle, grown from internal coordinates with loops closed by search.

Backbone arrays are (..., residues, 5, 3): atoms N, CA, C, O, CB in Angstrom; glycine has a CB here
too, to keep room for side chains.  Torsions are in degrees.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares

# Bond lengths (Angstrom) and angles (degrees): Engh & Huber (1991), Acta Cryst. A47, 392-400.
N_CA, CA_C, C_N, C_O, CA_CB = 1.458, 1.525, 1.329, 1.231, 1.530
N_CA_C, CA_C_N, C_N_CA, CA_C_O, N_CA_CB = 111.2, 116.2, 121.7, 120.8, 110.5
C_N_CA_CB = -122.6  # degrees, of L-amino acids

HELIX = (-63.0, -42.0)  # phi, psi of regular alpha helices in protein crystals
HELIX_SPREAD = 2.0  # degrees; real helices are not perfectly regular
# phi, psi of the regions that loops take: alpha, bridge, beta, polyproline, left-handed helix
LOOP_REGIONS = np.array([(-65.0, -40.0), (-95.0, 0.0), (-120.0, 130.0), (-70.0, 145.0),
                         (57.0, 40.0)])
REGION_WIDTH = 15.0  # degrees; standard deviation within a region

HELIX_LENGTHS = (25, 23, 26, 24)
LOOP_LENGTHS = (5, 6, 5)
ATOMS = 5  # of the backbone in a residue
TAIL = 2  # residues before the first and after the last helix
RISE = 1.5  # Angstrom per residue of a helix
SPACING = 10.0  # Angstrom between axes of neighbouring helices, usual of Leu-rich bundles
TILT = 10.0  # degrees to the bundle axis: neighbours cross at 20, a left-handed supercoil
TWO_TURNS = 7  # residues; their centroid lies on the axis of a helix
CONTACT = 3.6  # Angstrom; backbone atoms of loops keep this far from the rest


def place(a: np.ndarray, b: np.ndarray, c: np.ndarray, length: float, angle: float,
          torsion: np.ndarray) -> np.ndarray:
    """Atom d bonded to c, from bond length c-d, angle b-c-d and torsion a-b-c-d; broadcasts.

    Parsons et al. (2005), J. Comput. Chem. 26, 1063-1068.
    """
    angle, torsion = np.deg2rad(angle), np.deg2rad(torsion)[..., None]
    bc = _unit(c - b)
    normal = _unit(np.cross(b - a, bc))
    side = np.cos(torsion) * np.cross(normal, bc) + np.sin(torsion) * normal
    return c + length * (np.sin(angle) * side - np.cos(angle) * bc)


def _unit(v):
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def grow(start: np.ndarray, psi_before: float, phi: np.ndarray, psi: np.ndarray) -> np.ndarray:
    """Residues added to a chain's end.

    Parameters
    ----------
    start : (3, 3), atoms N, CA, C of the last residue.
    psi_before : its psi.
    phi, psi : (..., m) torsions of the residues to add; peptides are trans.

    Returns
    -------
    (..., m, 5, 3)
    """
    chain = [np.broadcast_to(atom, phi.shape[:-1] + (3,)) for atom in start]
    previous = np.broadcast_to(psi_before, phi.shape[:-1])
    for i in range(phi.shape[-1]):
        chain.append(place(*chain[-3:], C_N, CA_C_N, previous))
        chain.append(place(*chain[-3:], N_CA, C_N_CA, np.asarray(180.0)))
        chain.append(place(*chain[-3:], CA_C, N_CA_C, phi[..., i]))
        previous = psi[..., i]
    main = np.stack(chain[3:], axis=-2).reshape(phi.shape + (3, 3))
    n, ca, c = np.moveaxis(main, -2, 0)
    oxygen = place(n, ca, c, C_O, CA_C_O, psi + 180.0)
    beta = place(c, n, ca, CA_CB, N_CA_CB, np.asarray(C_N_CA_CB))
    return np.stack([n, ca, c, oxygen, beta], axis=-2)


def build_backbone(rng: np.random.Generator,
                   ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A bundle: coordinates (n, 5, 3), phi and psi (n,), and whether each residue is helical."""
    targets = bundle_axes()
    phi, psi = _helix_torsions(TAIL + HELIX_LENGTHS[0], rng)
    psi[:TAIL] = LOOP_REGIONS[2, 1] + rng.normal(0, REGION_WIDTH, TAIL)
    seed = np.array([[0.0, 0, 0], [N_CA, 0, 0], [N_CA, CA_C, 0]])
    chain = grow(seed, 120.0, phi, psi)
    chain = _onto_axis(chain, helix_ends(chain[TAIL:]), targets[0])
    helical = [False] * TAIL + [True] * HELIX_LENGTHS[0]
    for loop, length, target in zip(LOOP_LENGTHS, HELIX_LENGTHS[1:], targets[1:]):
        torsions = close_loop(chain, psi[-1], loop, _helix_torsions(length, rng), target, rng)
        chain = np.concatenate([chain, grow(chain[-1, :3], psi[-1], *torsions)])
        phi, psi = np.append(phi, torsions[0]), np.append(psi, torsions[1])
        helical += [False] * loop + [True] * length
    tail = _last_tail(chain, psi[-1], rng)
    chain = np.concatenate([chain, grow(chain[-1, :3], psi[-1], *tail)])
    phi, psi = np.append(phi, tail[0]), np.append(psi, tail[1])
    return chain, phi, psi, np.array(helical + [False] * TAIL)


def _last_tail(chain, psi_before, rng, tries=100):
    """phi and psi of the last residues, (2, TAIL): the least overlapping of random ones."""
    tails = LOOP_REGIONS[2][:, None] + rng.normal(0, 2 * REGION_WIDTH, (tries, 2, TAIL))
    new = grow(chain[-1, :3], psi_before, tails[:, 0], tails[:, 1])
    return tails[np.argmin((_overlap(new, chain) ** 2).sum(-1))]


def _helix_torsions(length, rng):
    """phi and psi of a slightly irregular helix, (2, length)."""
    return np.array(HELIX)[:, None] + rng.normal(0, HELIX_SPREAD, (2, length))


def bundle_axes() -> np.ndarray:
    """Start and end of the axis of each helix, (4, 2, 3): up, down, up, down around a square.

    The points are the centroids of the first and last two turns.
    """
    axes = []
    for i, length in enumerate(HELIX_LENGTHS):
        azimuth = np.deg2rad(90.0 * i)
        centre = SPACING / np.sqrt(2) * np.array([np.cos(azimuth), np.sin(azimuth), 0])
        tangent = np.array([-np.sin(azimuth), np.cos(azimuth), 0])
        tilt = np.deg2rad(TILT)
        axis = (np.cos(tilt) * np.array([0, 0, 1]) - np.sin(tilt) * tangent) * (-1) ** i
        half = 0.5 * RISE * (length - TWO_TURNS)
        axes.append((centre - half * axis, centre + half * axis))
    return np.array(axes)


def helix_ends(helix: np.ndarray) -> np.ndarray:
    """Points of the axis in the first and last two turns, (..., 2, 3)."""
    main = helix[..., :3, :]
    return np.stack([main[..., :TWO_TURNS, :, :].mean((-2, -3)),
                     main[..., -TWO_TURNS:, :, :].mean((-2, -3))], axis=-2)


def _onto_axis(chain, ends, target):
    """The chain moved so that the axis with ``ends`` falls on ``target``."""
    def frame(points):
        z = _unit(points[1] - points[0])
        x = _unit(np.cross(z, [0.3, 0.5, 0.8]))
        return np.stack([x, np.cross(z, x), z])
    rotation = frame(target).T @ frame(ends)
    return (chain - ends.mean(0)) @ rotation.T + target.mean(0)


def close_loop(chain: np.ndarray, psi_before: float, loop: int, helix: np.ndarray,
               target: np.ndarray, rng: np.random.Generator, tries: int = 3000,
               refined: int = 6) -> np.ndarray:
    """phi and psi, each (loop + helix,), of a loop that brings the next helix onto its axis.

    Random loops from the allowed regions; the nearest ``refined`` are minimised, the best is kept.
    """
    regions = rng.choice(len(LOOP_REGIONS), (tries, loop), p=[0.3, 0.2, 0.2, 0.2, 0.1])
    centres = np.moveaxis(LOOP_REGIONS[regions], -1, -2)  # (tries, 2, loop)
    sampled = centres + rng.normal(0, REGION_WIDTH, centres.shape)

    def segment(loops):
        fixed = np.broadcast_to(helix, loops.shape[:-1] + (helix.shape[1],))
        torsions = np.concatenate([loops, fixed], axis=-1)
        return grow(chain[-1, :3], psi_before, torsions[..., 0, :], torsions[..., 1, :])

    def residuals(loops, centre):
        new = segment(loops)
        return np.concatenate([_axis_misfit(new[..., loop:, :, :], target),
                               ((loops - centre) / REGION_WIDTH).reshape(len(loops), -1),
                               _overlap(new, chain)], axis=-1)

    nearest = np.argsort((_axis_misfit(segment(sampled)[..., loop:, :, :], target) ** 2).sum(-1))
    fits = [_minimise(lambda x, centre=centres[i]: residuals(x, centre), sampled[i])
            for i in nearest[:refined]]
    best = min(fits, key=lambda fit: fit.cost).x.reshape(2, loop)
    return np.concatenate([best, helix], axis=-1)


def _axis_misfit(helix, target):
    """Distance of the helix ends from the target in units of its tolerance, (..., 6)."""
    offset = helix_ends(helix) - target
    axis = _unit(target[1] - target[0])
    along = (offset @ axis)[..., None] * axis
    # a bundle allows some sliding of helices along their axes, little sideways movement
    misfit = (offset - along) / 0.5 + along / 1.5
    return misfit.reshape(misfit.shape[:-2] + (6,))


def _overlap(new, chain):
    """How far each new atom intrudes on residues 2 or more before it, in units of 0.1 Angstrom."""
    count = new.shape[-3]
    atoms = new.reshape(new.shape[:-3] + (ATOMS * count, 3))
    known = np.broadcast_to(chain.reshape(-1, 3), atoms.shape[:-2] + (ATOMS * len(chain), 3))
    others = np.concatenate([known, atoms], axis=-2)
    squared = ((atoms ** 2).sum(-1)[..., :, None] + (others ** 2).sum(-1)[..., None, :]
               - 2 * atoms @ np.swapaxes(others, -1, -2))
    residue = np.repeat(np.arange(len(chain) + count), ATOMS)
    close_in_sequence = residue[-ATOMS * count:, None] - residue < 2
    distance = np.sqrt(np.where(close_in_sequence, np.inf, squared).min(-1))
    return np.maximum(0.0, CONTACT - distance) / 0.1


def _minimise(residuals, start):
    """Least squares over two loop torsion rows, with derivatives by differences in one batch."""
    def jacobian(x):
        steps = x + 0.01 * np.eye(len(x))
        batch = residuals(np.vstack([x[None], steps]).reshape((-1,) + start.shape))
        return ((batch[1:] - batch[0]) / 0.01).T
    return least_squares(lambda x: residuals(x.reshape((1,) + start.shape))[0], start.ravel(),
                         jacobian, max_nfev=60)
