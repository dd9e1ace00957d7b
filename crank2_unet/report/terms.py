"""What the terms of a report mean, for its hovering explanations, its glossary and docs/report.md."""

from __future__ import annotations

# key -> (name, explanation)
TERMS: dict[str, tuple[str, str]] = {
    "correlation": ("expected map correlation", (
        "Correlation of the map with the map of the finished model that is to be expected, learnt "
        "from crystals whose model is known. Maps above about 0.5 can mostly be built; ± is one "
        "standard deviation.")),
    "fom": ("figure of merit (FOM)", (
        "Mean cosine of the phase error that the program expects: 1 for certain phases, 0 for "
        "unknown ones. It can be too high, which is why held-back amplitudes are asked, too.")),
    "free": ("held-back amplitudes (free)", (
        "A second map is modified without 8% of the amplitudes. How well it foretells them says "
        "how far agreement can be trusted, as R-free does in refinement. 0: not at all, 1: "
        "perfectly. The masks are those of the first map, which knows all amplitudes, so where phases "
        "stay poor it may be 0.1 to 0.15 too high. In the first cycles it may lie above that of "
        "measured amplitudes: what a reflection gives back to itself is taken out, so that both are "
        "foretold alike at first, and with a few hundred held back it is uncertain by 0.05.")),
    "sigma_a": ("sigma-A", (
        "Correlation of the normalised structure factors of the modified map with those of the "
        "crystal that the amplitudes let expect, less what held-back amplitudes do not bear out.")),
    "phase_change": ("phase change", (
        "Mean difference between two sets of phases, in degrees: 0 where nothing moves, 90 "
        "between unrelated acentric phases. By cycle from the one before, by resolution from the "
        "given ones.")),
    "trust": ("trust", (
        "Share of what is claimed that is believed: of the agreement between map and amplitudes, "
        "and of the given phases (a factor of their Hendrickson–Lattman coefficients).")),
    "beyond": ("reflections beyond the data", (
        "Atoms and flat solvent tell of reflections finer than those measured. Once nothing else "
        "improves, they are filled in to 0.8 of the resolution for some cycles, and kept if held-back "
        "amplitudes agree better. They help the phases of those measured; files hold none of them.")),
    "ncs": ("NCS correlation", (
        "Correlation of the density of a molecule with that of its copies in the asymmetric unit "
        "(non-crystallographic symmetry).")),
    "centric": ("acentric and centric", (
        "Symmetry leaves a centric reflection only two phases, 180° apart; an acentric one may "
        "have any. Their statistics differ, so they are shown apart.")),
    "solvent": ("solvent content", (
        "Share of the cell that is disordered solvent: in most protein crystals between 27 and 65%.")),
    "copies": ("copies", (
        "Molecules of the sequence in the asymmetric unit: how many fit its volume (Matthews) and "
        "the solvent that the network sees.")),
    "mask": ("solvent mask", (
        "Where the solvent is. Density is flattened there and made like that of protein "
        "elsewhere. The orange line in pictures is its boundary.")),
    "p_solvent": ("P(solvent)", "Probability, by the network, that a point lies in the solvent."),
    "p_flat": ("P(flat)", (
        "Probability, by the network, that the true density is flat at a point: in the solvent, "
        "and in disordered parts. It weights density modification.")),
    "sigma": ("σ", "Density in standard deviations of the map from its mean."),
    "phasing_power": ("phasing power", (
        "Anomalous difference calculated from the sites, by what they leave unexplained (root "
        "mean squares). Above 1 is strong; below 0.35 sites explain the data no better than wrong "
        "ones.")),
    "f_double_prime": ("f″", (
        "Strength of the anomalous scattering of an atom, in electrons; it depends on the element "
        "and the wavelength, and near an absorption edge on the chemistry.")),
    "height": ("height", (
        "Occupancy of a site over its standard deviation, as the anomalous differences tell them; "
        "above about 5 it is hardly chance.")),
    "occupancy": ("occupancy", "Scattering of a site in units of the strongest one."),
    "b": ("B", "How much an atom moves or is disordered, in Å²; 10 to 60 is common."),
    "hand": ("hand", (
        "Sites and their mirror image explain the anomalous differences equally well; one gives "
        "the map, the other noise. The right one shows solvent and protein apart.")),
    "skewness": ("skewness", (
        "Asymmetry of the values of a map: high where atoms stand out of flat solvent, near 0 for "
        "noise. Sharpened maps have other values than maps as phased.")),
    "contrast": ("contrast", (
        "How much the local variation of the density varies: high where flat solvent and protein "
        "lie side by side.")),
}
