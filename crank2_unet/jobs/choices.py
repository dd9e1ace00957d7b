"""What the user chooses: columns, content of the crystal, network, engine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..crystal.reflections import Reflections
from ..errors import InputError
from ..files.coordinates import read_sites
from ..modification.engine import EmbeddedEngine, Engine
from ..modification.ncs_operator import Operator
from ..network.session import SolventNet
from ..parrot.engine import ParrotEngine
from ..solvent.matthews import Composition
from .phase import sites_that_phased


@dataclass(frozen=True)
class Columns:
    """Column labels given by the user; None = found by type."""

    fo: str | None = None
    hl: str | None = None
    phifom: str | None = None
    fc: str | None = None


@dataclass(frozen=True)
class NetworkChoice:
    """Model card, device and CPU threads asked for."""

    model: str | None = None
    device: str = "auto"
    threads: int | None = None

    def load(self) -> SolventNet:
        return SolventNet.load(self.model, self.device, self.threads)

    def options(self) -> list[str]:
        """The same choice as options of the command line."""
        model = self.model and str(Path(self.model).resolve())
        given = {"--model": model, "--device": self.device, "--threads": self.threads}
        return [str(part) for pair in given.items() if pair[1] is not None for part in pair]


@dataclass(frozen=True)
class EngineChoice:
    """Program that modifies density asked for.

    Parameters
    ----------
    engine : "embedded", "parrot", or "auto": Parrot if one of the following is given.
    parrot : path or name of the program; default: found.
    options : for Parrot, in one string.
    ncs : "auto": density is averaged over non-crystallographic symmetry (NCS) that heavy-atom sites,
        if known, or the map show and the map confirms; "none": it is not.
    ncs_sites : coordinate file of heavy atoms; None: they are not known.
    ncs_operators : nine numbers each, see :meth:`~.ncs.Operator.parse`.
    """

    engine: str = "auto"
    parrot: str | None = None
    options: str = ""
    ncs: str = "auto"
    ncs_sites: str | None = None
    ncs_operators: tuple[str, ...] = ()

    def __post_init__(self):
        given = {"--ncs none": self.ncs == "none", f"--ncs-sites {self.ncs_sites}": self.ncs_sites,
                 "--ncs-operator": self.ncs_operators}
        said = [option for option, is_given in given.items() if is_given]
        if len(said) > 1:
            raise InputError(f"{' and '.join(said)} contradict each other. Give one of them.")

    @property
    def ncs_chosen(self) -> bool:
        """Whether sites or operators are named, or no NCS is wanted."""
        return bool(self.ncs == "none" or self.ncs_sites or self.ncs_operators)

    def with_sites_of(self, mtzin: str) -> EngineChoice:
        """With the sites that phased an MTZ file, if ``phase`` has left them beside it."""
        return self if self.ncs_chosen else replace(self, ncs_sites=sites_that_phased(mtzin))

    def find(self, choice: NetworkChoice, reflections: Reflections) -> Engine:
        sites = read_sites(self.ncs_sites, reflections) if self.ncs_sites else None
        operators = tuple(Operator.parse(text) for text in self.ncs_operators)
        embedded = EmbeddedEngine(sites, operators, ncs_from_map=self.ncs == "auto")
        about_parrot = bool(self.parrot or self.options)
        if self.engine == "embedded" and about_parrot:
            raise InputError("--parrot and --parrot-options are of no use with --engine embedded. "
                             "Leave them out, or give --engine parrot.")
        if self.engine == "parrot" or about_parrot:
            return ParrotEngine.find(self.parrot, self.options, tuple(choice.options()), embedded)
        return embedded


@dataclass(frozen=True)
class Content:
    """What the user knows of the crystal's content; all optional."""

    sequence: str | None = None
    residues: int | None = None
    solvent_content: float | None = None

    def composition(self) -> Composition | None:
        return Composition.given(self.sequence, self.residues)
