"""What the columns of a reflection file are: their roles by type, label and neighbours.

A set is led by one column (the amplitude of a map, the phase of a figure of merit); the others are
those whose label says the same after what names their kind is taken off (``SIGF_x`` of ``F_x``,
``PHIC_ALL`` of ``FC_ALL``), and only where no label does, the neighbour that no other set claims.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A group of columns that belong together.

    ``types`` are the MTZ column types of its members, ``clipper`` the endings of Clipper's compound
    labels, ``option`` the command-line option by which the user names the columns.
    """

    what: str
    option: str
    types: str
    clipper: tuple


AMPLITUDES = Kind("observed amplitudes", "--colin-fo", "FQ", ("F_sigF.F", "F_sigF.sigF"))
INTENSITIES = Kind("observed intensities", "--colin-fo", "JQ", ("I_sigI.I", "I_sigI.sigI"))
HENDRICKSON_LATTMAN = Kind("Hendrickson-Lattman coefficients", "--colin-hl", "AAAA",
                           ("ABCD.A", "ABCD.B", "ABCD.C", "ABCD.D"))
PHASE_AND_FOM = Kind("phase and figure of merit", "--colin-phifom", "PW",
                     ("Phi_fom.phi", "Phi_fom.fom"))
MAP_COEFFICIENTS = Kind("map coefficients", "--colin-fc", "FP", ("F_phi.F", "F_phi.phi"))
ANOMALOUS_AMPLITUDES = Kind("amplitudes of Friedel mates", "--colin-fpm", "GLGL",
                            ("F_sigF_anom.F+", "F_sigF_anom.sigF+", "F_sigF_anom.F-",
                             "F_sigF_anom.sigF-"))
ANOMALOUS_INTENSITIES = Kind("intensities of Friedel mates", "--colin-ipm", "KMKM",
                             ("I_sigI_anom.I+", "I_sigI_anom.sigI+", "I_sigI_anom.I-",
                              "I_sigI_anom.sigI-"))
ANOMALOUS_DIFFERENCES = Kind("amplitudes with anomalous differences", "--colin-fdano", "FQDQ",
                             ("F_sigF.F", "F_sigF.sigF", "D_sigD.D", "D_sigD.sigD"))

# kinds of maps by the label of the amplitude, first match, with their rank: 0 is taken
# first, None only if named.
# REFMAC and Phaser FWT, DELFWT, FC_ALL; BUSTER and phenix 2FOFCWT, FOFCWT, ANOM; Phaser FLLG_x;
# FAN of CCP4; DF, WDF between two data sets; F-model, Fcalc of cctbx; FMSK, FMASK, FBULK: of a mask.
DIFFERENCE, _MASK, CALCULATED, _FILLING = (
    "difference map", "solvent mask", "calculated from a model", "map with another filling")
MAPS = (
    (r"msk|mask|bulk", _MASK, 3),
    (r"(?<!mo)del|(?<!2)m?fo-?d?fc|anom|diff|llg|grad|^fan(?![a-z])|^[kqw]?df(?!c)", DIFFERENCE, None),
    (r"_(no_?)?fill", _FILLING, 1),
    (r"[-_]sharp(ened)?$", "sharpened map", 1),
    (r"^f?[-_]?(calc?|c|model|part)(?![a-z])", CALCULATED, 2),
    (r"", "map", 0),
)
# amplitudes that a program derived from others in the same file
_OBSERVED = ((r"^[kqw]?df(?!c)", "differences", None),
             (r"filtered|trunc(ated)?$|[-_]iso$", "modified amplitudes", 1), (r"", "", 0))

# roles of columns whose type says nothing (R of pandas and many converters), by label, first match
_TYPES_BY_LABEL = (
    (r"^(sigf?|sigma.?f?|sf).*(\(\+\)|\(-\)|[+-]$|plus|minus)", "L"),
    (r"^(sigi|sigma.?i).*(\(\+\)|\(-\)|[+-]$|plus|minus)", "M"),
    (r"^sig|sigma", "Q"), (r"^hl.?[abcd]|^abcd\.", "A"),
    (r"^fom|phi_fom\.fom", "W"), (r"^ph|^alpha", "P"), (r"^dano|^d_", "D"), (r"free", "I"),
    (r"^f.*(\(\+\)|\(-\)|[+-]$|plus|minus)", "G"), (r"^i.*(\(\+\)|\(-\)|[+-]$|plus|minus)", "K"),
    (r"^i(mean|obs|_|-|$)", "J"), (r"^(2?m?f|e$|e_)", "F"),
)
_INTENSITY_LABEL = r"^i(mean|[-_]?obs|merged|[-_].*|\d*)$|^intensit"
_SIGNS = (("(+)", "(-)"), ("plus", "minus"), ("pos", "neg"), ("+", "-"), ("p", "m"))
_WITH_SIGMA = "FJDGKPW"  # types of columns that a sigma may belong to
_CLIPPER = re.compile(r"^(?P<stem>.*?)\.?(f_sigf_anom|i_sigi_anom|f_sigf|i_sigi|f_phi|phi_fom)\."
                      r"(?P<part>[^.]+)$")
# what a label is called by its kind, taken off its beginning: the earlier match the better
_PHASE_PREFIXES = ("phi", "ph", "phase", "phs", "p", "phib")
_FOM_PREFIXES = ("fom", "weight", "w")
# and an anomalous difference, taken off wherever it stands: DANO_x, FxDEL, DELFx, ANx, DP
_DIFFERENCE = r"d?anom?|del(ta)?|^an|^d"


@dataclass(frozen=True)
class Column:
    """A column: where it is, what it is called, and its type by what it means."""

    index: int
    label: str
    type: str
    crystal: str
    dataset: str
    dataset_id: int

    @property
    def key(self) -> str:
        """The label in a plain form: lower case, Clipper's ``x.F_phi.phi`` as ``phi_x``."""
        lower = self.label.lower()
        compound = _CLIPPER.match(lower)
        return f"{compound['part']}_{compound['stem']}".strip("_") if compound else lower


@dataclass(frozen=True)
class ColumnSet:
    """Columns that belong together; ``rank`` tells which of several is taken (0 first, None: none)."""

    kind: Kind
    columns: tuple[Column, ...]
    rank: int | None = 0
    meaning: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(column.label for column in self.columns)

    @property
    def lead(self) -> Column:
        return self.columns[0]

    @property
    def path(self) -> str:
        """The Clipper path by which the set can be named."""
        return f"/{self.lead.crystal}/{self.lead.dataset}/[{','.join(self.labels)}]"


def columns_of(mtz) -> list[Column]:
    """The columns of a :class:`gemmi.Mtz` but for H, K, L, with their types by what they mean."""
    found = []
    for column in mtz.columns:
        if column.type != "H":
            home = column.dataset
            found.append(Column(column.idx, column.label, _meant(column.type, column.label),
                                home.crystal_name, home.dataset_name, column.dataset_id))
    return found


def _meant(kind: str, label: str) -> str:
    """The type of a column, by its label where the file's type says nothing."""
    if kind == "R":
        key = label.lower()
        return next((meant for pattern, meant in _TYPES_BY_LABEL if re.search(pattern, key)), kind)
    return kind


def called_intensity(column: Column) -> bool:
    """Whether the label is that of an intensity."""
    return bool(re.search(_INTENSITY_LABEL, column.key))


def candidates(columns: Sequence[Column], kind: Kind) -> list[ColumnSet]:
    """All sets of a kind in a file, in the order of their leading columns."""
    find = {"AAAA": _hendrickson_lattman, "GLGL": _mates, "KMKM": _mates, "PW": _phases_with_fom,
            "FP": _maps, "FQDQ": _with_differences}.get(kind.types, _with_sigma)
    return find(list(columns), kind)


def _with_sigma(columns: list[Column], kind: Kind) -> list[ColumnSet]:
    pairs = _paired(columns, kind.types[0], kind.types[1], _same_but_sigma, rivals=_WITH_SIGMA)
    return [ColumnSet(kind, pair, *ranked(_OBSERVED, pair[0])) for pair in pairs]


def _maps(columns: list[Column], kind: Kind) -> list[ColumnSet]:
    """Amplitudes with phases; observed amplitudes only where there is nothing else."""
    observed = {pair[0] for pair in _paired(columns, "F", "Q", _same_but_sigma, rivals=_WITH_SIGMA)}
    pairs = _paired([c for c in columns if c not in observed], "F", "P", _phase_of_amplitude)
    if not pairs and not any(c.type == "W" for c in columns):
        pairs = _paired(columns, "F", "P", _phase_of_amplitude)
    return [ColumnSet(kind, pair, *ranked(MAPS, pair[0])) for pair in pairs]


def _phases_with_fom(columns: list[Column], kind: Kind) -> list[ColumnSet]:
    """A figure of merit with the phase of its name; else with a phase of no map, else with any of them
    that a map (not a difference map) has."""
    sets, taken = [], set()
    foms = [c for c in columns if c.type == "W"]
    for phase, fom in _paired(columns, "P", "W", fom_of_phase, neighbours=False):
        sets.append(ColumnSet(kind, (phase, fom)))
        taken |= {phase.index, fom.index}
    of_maps = {s.columns[1].index: s for s in _maps(columns, MAP_COEFFICIENTS)
               if _phase_of_amplitude(*s.columns) is not None or s.rank is None}
    free = [c for c in columns if c.type == "P" and c.index not in taken]
    for fom in foms:
        if fom.index in taken:
            continue
        alone = [p for p in free if p.index not in of_maps]
        shown = [p for p in free if p.index not in of_maps or of_maps[p.index].rank is not None]
        near = [p for p in alone if abs(p.index - fom.index) == 1]
        chosen = near[:1] or alone or shown
        sets += [ColumnSet(kind, (phase, fom)) for phase in chosen]
    return sorted(sets, key=lambda s: s.lead.index)


def _hendrickson_lattman(columns: list[Column], kind: Kind) -> list[ColumnSet]:
    """Four columns whose labels differ in one letter, A to D; else four neighbours."""
    rest, sets = [c for c in columns if c.type == "A"], []
    for first in list(rest):
        if first not in rest:
            continue
        for place in [i for i, letter in enumerate(first.label) if letter in "Aa"]:
            labels = [first.label[:place] + chr(ord(first.label[place]) + step)
                      + first.label[place + 1:] for step in range(4)]
            four = [c for label in labels for c in rest
                    if c.label == label and c.dataset_id == first.dataset_id]
            if len(four) == 4:
                sets.append(ColumnSet(kind, tuple(four)))
                rest = [c for c in rest if c not in four]
                break
    while len(rest) >= 4:
        four, rest = rest[:4], rest[1:]
        if four[3].index - four[0].index == 3:
            sets.append(ColumnSet(kind, tuple(four)))
            rest = rest[3:]
    return sorted(sets, key=lambda s: s.lead.index)


def _mates(columns: list[Column], kind: Kind) -> list[ColumnSet]:
    """Pairs of values whose labels differ in the sign, each with its sigma; else neighbours."""
    value, sigma = kind.types[0], kind.types[1]
    with_sigma = _paired(columns, value, sigma + "Q", _same_but_sigma, rivals=_WITH_SIGMA)
    sigma_of = {lead.index: follower for lead, follower in with_sigma}
    rest, sets = [lead for lead, _ in with_sigma], []
    for by_label in (True, False):
        for plus in list(rest):
            partner = next((minus for minus in rest if plus in rest and minus is not plus
                            and minus.dataset_id == plus.dataset_id
                            and (_opposite(plus.key, minus.key) if by_label
                                 else rest.index(minus) == rest.index(plus) + 1)), None)
            if partner:
                sets.append(ColumnSet(kind, (plus, sigma_of[plus.index], partner,
                                             sigma_of[partner.index])))
                rest = [c for c in rest if c not in (plus, partner)]
    return sorted(sets, key=lambda s: s.lead.index)


def _with_differences(columns: list[Column], kind: Kind) -> list[ColumnSet]:
    """Anomalous differences with the amplitude of their name, else the only one of their dataset."""
    amplitudes = [s for s in _with_sigma(columns, AMPLITUDES) if s.rank == 0]
    sets = []
    for difference in _paired(columns, "D", "Q", _same_but_sigma, rivals=_WITH_SIGMA):
        home = [s for s in amplitudes if s.lead.dataset_id == difference[0].dataset_id]
        name = _bare(re.sub(_DIFFERENCE, "", difference[0].key))
        alike = [s for s in home if name in _without_f(s.lead.key)]
        if len(alike or home) == 1:
            sets.append(ColumnSet(kind, ((alike or home)[0].columns + difference)))
    return sets


def _opposite(plus: str, minus: str) -> bool:
    """Whether two labels differ only in the sign, the first one positive."""
    return any(plus[:place] + after + plus[place + len(before):] == minus
               for before, after in _SIGNS
               for place in (m.start() for m in re.finditer(re.escape(before), plus)))


def _paired(columns: list[Column], lead: str, follower: str,
            closeness: Callable[[Column, Column], int | None], neighbours: bool = True,
            rivals: str = "") -> list[tuple[Column, Column]]:
    """Leading columns with their followers: by label, of one dataset if possible, then by place.

    Parameters
    ----------
    lead, follower : types of the columns.
    closeness : 0 for labels that say the same, more for weaker likeness, None for none.
    neighbours : followers without a leader of their name may go with the column before or after.
    rivals : types of columns that followers of that type may belong to as well, by label.
    """
    leaders, followers = ([c for c in columns if c.type in types] for types in (lead, follower))
    likely = sorted((close, a.dataset_id != b.dataset_id, abs(a.index - b.index), a.index, b.index)
                    for a in columns if a.type == lead or a.type in rivals
                    for b in followers if (close := closeness(a, b)) is not None)
    by_index = {c.index: c for c in columns}
    found: dict[int, int] = {}
    for *_, a, b in likely:
        if a not in found and b not in found.values():
            found[a] = b
    if neighbours:
        for leader in leaders:
            for near in (by_index.get(leader.index + step) for step in (1, -1)):
                if (leader.index not in found and near and near.type in follower
                        and near.index not in found.values()):
                    found[leader.index] = near.index
    return [(leader, by_index[found[leader.index]]) for leader in leaders if leader.index in found]


def _bare(label: str) -> str:
    return re.sub(r"[_. ]", "", label)


def _same_but_sigma(value: Column, sigma: Column) -> int | None:
    """Whether a sigma's label is that of the value with "sig" in it."""
    key = sigma.key
    if not re.search("sig|esd|^s|^d", key):
        return None
    bare = _bare(value.key)
    if _bare(re.sub("sigma|sig|esd", "", key)) == bare:
        return 0
    return 1 if _bare(key[1:]) == bare else None


def _without_f(key: str) -> set[str]:
    """What an amplitude's label may be called without the letter that says what it is."""
    return {_bare(key)} | {_bare(key[:i] + key[i + 1:]) for i in range(len(key)) if key[i] == "f"}


def _phase_of_amplitude(amplitude: Column, phase: Column) -> int | None:
    """How well a phase's label goes with that of an amplitude: PHWT with FWT, PHIC_ALL with FC_ALL."""
    return _closest(phase, _PHASE_PREFIXES, _without_f(amplitude.key))


def fom_of_phase(phase: Column, fom: Column) -> int | None:
    """How well a figure of merit's label goes with that of a phase: FOM_x with PHIB_x or PHI_x."""
    rests = {_bare(phase.key[len(p):]) for p in ("phi", "phib", "phase", "phs")
             if phase.key.startswith(p)}
    return _closest(fom, _FOM_PREFIXES, rests)


def _closest(column: Column, prefixes: Sequence[str], rests: set[str]) -> int | None:
    """Number of the first prefix without which the label is one of ``rests``."""
    return next((number for number, prefix in enumerate(prefixes) if column.key.startswith(prefix)
                 and _bare(column.key[len(prefix):]) in rests), None)


def ranked(table: tuple, column: Column) -> tuple[int | None, str]:
    return next((rank, meaning) for pattern, meaning, rank in table if re.search(pattern, column.key))
