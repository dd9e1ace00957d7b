"""What phases are worth: phase errors, map correlations and honesty against the deposited model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ...crystal.origins import best_shift, shifted
from ...crystal.phases import angle_degrees, map_correlation, phase_difference, to_complex
from ...crystal.reflections import Reflections, enantiomorph
from ...crystal.shells import Shells
from ...errors import InputError
from ..preparation.prepare import enantiomorphic_factors

# limits of resolution shells, Angstrom, the same for all crystals
SHELLS = (np.inf, 6.0, 4.5, 3.5, 3.0, 2.5, 2.2, 1.9, 1.6, 0.0)
_FEWEST = 30  # reflections of which an average is shown
_SAME = 0.01  # Angstrom of a shift of the origin; less is none


@dataclass(frozen=True)
class PhaseSet:
    """Phases of a program, over the complete list of n reflections.

    Parameters
    ----------
    reflections : in the cell of the crystal; the space group may be the enantiomorphic one.
    phi, fom : (n,) best phases, degrees, and figures of merit.
    coefficients : (n,) complex, of the map with what the program filled in for unmeasured reflections;
        None if it gives none.
    """

    reflections: Reflections
    phi: np.ndarray
    fom: np.ndarray
    coefficients: np.ndarray | None


@dataclass(frozen=True)
class Truth:
    """The deposited model.

    Parameters
    ----------
    reflections : complete list of n reflections.
    f : (n,) measured amplitudes; NaN = unmeasured.
    phi : (n,) phases of the model with bulk solvent, degrees.
    amplitudes : (n,) of the model, on any scale; None where they are not known.
    """

    reflections: Reflections
    f: np.ndarray
    phi: np.ndarray
    amplitudes: np.ndarray | None

    def scores(self, found: PhaseSet) -> dict:
        """Scores of phases, placed on the model by the permitted shift of the origin, and the hand,
        that give the best map correlation.

        Returns
        -------
        phase_error, weighted_error : mean over measured reflections, weighted by F; degrees.
        cc : correlation of the m|F| map with that of measured amplitudes and true phases.
        cc_filled : that of the program's map with all reflections of the model, unmeasured ones
            filled in; None if either is not known.
        fom, cos : mean figure of merit and mean cosine of the phase error, which an honest one equals.
        acentric, centric : the same (n, phase_error, cc, fom, cos) of these reflections.
        shells : list of d_max, d_min and both groups in shells of resolution.
        hand, shift : "as given" or "other"; fractions of the cell, None if there was none.

        Raises
        ------
        InputError : the phases are of another space group, or hardly any reflection is measured.
        """
        measured = np.isfinite(self.f)
        placed, hand, shift = self._place(found)
        r = self.reflections
        error, fom = phase_difference(placed.phi, self.phi), placed.fom
        groups = {"acentric": measured & ~r.centric, "centric": measured & r.centric}

        def means(chosen: np.ndarray) -> dict | None:
            if chosen.sum() < _FEWEST:
                return None
            f, phi, true = self.f[chosen], placed.phi[chosen], self.phi[chosen]
            return {"n": int(chosen.sum()), "phase_error": float(error[chosen].mean()),
                    "cc": map_correlation(to_complex(fom[chosen] * f, phi), to_complex(f, true),
                                          r.multiplicity[chosen]),
                    "fom": float(fom[chosen].mean()),
                    "cos": float(np.cos(np.deg2rad(error[chosen])).mean())}

        overall = means(measured)
        if overall is None:
            raise InputError(f"Only {measured.sum()} reflections are measured: too few to judge "
                             "phases.")
        shells = [{"d_max": d_max, "d_min": d_min,
                   **{name: means(group & (r.d < d_max) & (r.d >= d_min))
                      for name, group in groups.items()}}
                  for d_max, d_min in zip(SHELLS, SHELLS[1:])]
        return {**{key: value for key, value in overall.items() if key != "n"},
                "weighted_error": float(np.average(error[measured], weights=self.f[measured])),
                "cc_filled": self._filled_correlation(placed.coefficients, measured),
                **{name: means(group) for name, group in groups.items()},
                "shells": [shell for shell in shells if shell["acentric"] or shell["centric"]],
                "hand": hand, "shift": shift}

    def _place(self, found: PhaseSet) -> tuple[PhaseSet, str, list | None]:
        """Phases over the reflections of the model, on its origin and in its hand."""
        f = np.nan_to_num(self.f)
        true = to_complex(f, self.phi)
        placed = []
        for hand, phases in self._hands(found):
            shift = best_shift(to_complex(f * phases.fom, phases.phi), true, self.reflections)
            unit, *coefficients = (shifted(c, self.reflections, shift) for c in (
                to_complex(phases.fom, phases.phi), phases.coefficients) if c is not None)
            cc = map_correlation(f * unit, true, self.reflections.multiplicity)
            placed.append((cc, hand, shift, _phase_set(self.reflections, unit, *coefficients)))
        if not placed:
            raise InputError(f"The phases are in {found.reflections.spacegroup.xhm()}, the model in "
                             f"{self.reflections.spacegroup.xhm()}.")
        _, hand, shift, phases = max(placed, key=lambda one: one[0])
        shift = (shift + 0.5) % 1 - 0.5
        lengths = np.array(self.reflections.cell.parameters[:3])
        there = abs(shift) * lengths > _SAME
        return phases, hand, (shift.round(4).tolist() if there.any() else None)

    def _hands(self, found: PhaseSet) -> Iterator[tuple[str, PhaseSet]]:
        """The phases as they are and those of the inverted structure, as far as they are of the space
        group of the model."""
        r, group = self.reflections, self.reflections.spacegroup
        place = found.reflections.find(r.hkl)

        def laid_out(change: Callable[[np.ndarray], np.ndarray]) -> PhaseSet:
            unit, *coefficients = (change(np.where(place >= 0, c[place], 0)) for c in (
                to_complex(found.fom, found.phi), found.coefficients) if c is not None)
            return _phase_set(r, unit, *coefficients)
        given = found.reflections.spacegroup
        if given.operations() == group.operations():
            yield "as given", laid_out(lambda c: c)
        if given.operations() == enantiomorph(group).operations():
            # the operation that changes hands belongs to the group that is left
            old = Reflections(r.cell, given, r.d_min)
            yield "other", laid_out(lambda c: enantiomorphic_factors(c, old))

    def _filled_correlation(self, coefficients: np.ndarray | None, measured: np.ndarray,
                            ) -> float | None:
        if coefficients is None or self.amplitudes is None:
            return None
        shells = Shells(self.reflections, measured)
        scale = shells.rms(np.nan_to_num(self.f)) / shells.rms(self.amplitudes)
        true = to_complex(np.where(measured, self.f, scale * self.amplitudes), self.phi)
        return map_correlation(coefficients, true, self.reflections.multiplicity)


def _phase_set(reflections: Reflections, unit: np.ndarray, coefficients: np.ndarray | None = None,
               ) -> PhaseSet:
    """From (n,) complex, figures of merit with phases, and coefficients of the map."""
    return PhaseSet(reflections, angle_degrees(unit), np.abs(unit), coefficients)
