"""What each command of ``crank2-unet`` runs and prints.

Only the standard library is imported here at the top, so that ``--help`` is instant.
"""

from __future__ import annotations

from ..errors import Crank2UnetError
from ..process import ProgressLine


def run_solve(options) -> None:
    from ..jobs import solve
    from ..report.words import show_probability

    result = solve.run_solve(options.mtzin, options.output, _phasing(options), _modification(options),
                             ProgressLine, _tell)
    _print_verdict(result)
    hand = result["hand"]
    certainty = ("neither is wrong, as the sites are centrosymmetric" if hand["probability"] is None
                 else f"probability {show_probability(hand['probability'])}")
    print(f"Hand:             {hand['chosen']}, {hand['spacegroup']}; {certainty}")
    _print_solvent(result)
    _print_modification(result, options)
    for stage in result["stages"]:
        print(f"{'*' if stage['chosen'] else ' '} {stage['name']:16s} {stage['said']}")
    _print_end(options)


def run_segment(options) -> None:
    from ..jobs import segment

    with ProgressLine("segmenting") as progress:
        result = segment.run_segment(options.mtzin, options.output, _columns(options),
                                     _content(options), _choice(options), progress,
                                     not options.no_report, options.pictures)
    _print_solvent(result)
    _print_end(options)


def run_dm(options) -> None:
    from ..jobs import dm

    with ProgressLine("modifying density") as progress:
        result = dm.run_dm(options.mtzin, options.output, _columns(options), progress=progress,
                           report=not options.no_report, mask_one_is=options.mask_one_is,
                           **_modification(options, ncs_sites=options.ncs_sites,
                                           ncs_operators=tuple(options.ncs_operator)))
    _print_verdict(result)
    _print_solvent(result)
    _print_modification(result, options)
    _print_end(options)


def run_mask_server(options) -> int:
    from ..jobs import serve_masks

    return serve_masks.run_mask_server(options.mtzin, options.program, _columns(options),
                                _content(options), _choice(options))


def run_mask_client(options) -> int:
    from ..parrot import mask_client

    return mask_client.main([options.map, options.mask, options.cycle])


def run_phase(options) -> None:
    from ..jobs import phase

    with ProgressLine("phasing") as progress:
        result = phase.run_phase(options.mtzin, options.output, hands=options.hand,
                                 cycles=options.cycles, progress=progress, phases=options.phases,
                                 colin_phases=options.colin_phases, **_phasing(options))
    used = result["scatterer"]
    print(f"Scatterer:        {used['element']}, f' = {used['f_prime']:.2f}, "
          f"f'' = {used['f_double_prime']:.2f}")
    for hand in result["phasing"]["hands"]:
        print(f"Figure of merit:  {hand['statistics']['fom']:.3f} "
              f"({hand['hand']} hand, {hand['spacegroup']}, {hand['outputs']['mtz']})")
        _print_sites(hand["statistics"])
    _print_end(options)


def _print_sites(statistics: dict) -> None:
    """The sites of a hand, and what completion changed."""
    changes = statistics["completion"] or {"added": [], "dropped": []}
    print(f"Sites:            {statistics['n_sites']}")
    for what in ("added", "dropped"):
        for row in changes[what]:
            print(f"  {what:15s} {' '.join(f'{x:7.3f}' for x in row['xyz'])}, occupancy "
                  f"{row['occupancy']:.2f}, B {row['b_iso']:.0f}, {row['height']:.1f} sigma")


def run_hand(options) -> None:
    from ..jobs import hand
    from ..report.words import show_probability

    with ProgressLine("comparing hands") as progress:
        result = hand.run_hand(options.first, options.other, options.output, _columns(options),
                               _choice(options), progress)
    print("probability  map correlation  contrast  skewness  space group  file")
    for row in result["hands"]:
        print(f"{show_probability(row['probability']):>11s}  {row['map_correlation']:8.2f} +- "
              f"{row['uncertainty']:.2f}  {row['contrast']:8.3f}  {row['skewness']:8.3f}  "
              f"{row['spacegroup']:11s}  {row['file']}")
    _print_end(options)


def run_check(options) -> int:
    from ..check import check_installation, exit_status, render

    lines = check_installation(options.model)
    print(render(lines))
    return exit_status(lines)


def run_crank2(options) -> None:
    from ..crank2 import shim
    from ..crank2.places import find_crank2

    folders = find_crank2(options.crank2)
    if options.task == "status":
        print("\n".join(shim.status(folders)))
    elif not folders:
        raise Crank2UnetError("No Crank2 was found in $CCP4 or in this Python. Name its folder with "
                              "--crank2.")
    else:
        task = shim.install if options.task == "install" else shim.uninstall
        paths = [path for folder in folders for path in task(folder)]
        print("\n".join(f"{options.task}ed {path}" for path in paths) or "nothing to remove")


def _phasing(options) -> dict:
    """What the user says of phasing, as arguments of its job."""
    from ..sad.scatterer import Scatterer

    element, given = options.element.capitalize(), (options.f_prime, options.f_double_prime)
    if given.count(None) == 1:
        raise Crank2UnetError("Give both --f-prime and --f-double-prime, or neither.")
    return {"sites": options.sites,
            "scatterer": element if None in given else Scatterer(element, *given),
            "wavelength": options.wavelength, "complete": not options.keep_sites,
            "sequence": options.seq, "residues": options.residues,
            "colin_fpm": options.colin_fpm, "colin_ipm": options.colin_ipm,
            "colin_fdano": options.colin_fdano}


def _modification(options, **ncs) -> dict:
    """What the user says of density modification, as arguments of its job; ``ncs`` as of the engine."""
    from ..jobs.choices import EngineChoice

    return {"content": _content(options), "choice": _choice(options), "mask": options.mask,
            "cycles": options.cycles, "free": options.free,
            "engine": EngineChoice(options.engine, options.parrot, options.parrot_options, options.ncs,
                                   **ncs)}


def _columns(options):
    from ..jobs.choices import Columns

    return Columns(options.colin_fo, options.colin_hl, options.colin_phifom, options.colin_fc)


def _content(options):
    from ..jobs.choices import Content

    return Content(options.seq, options.residues, options.solvent_content)


def _choice(options):
    from ..jobs.choices import NetworkChoice

    return NetworkChoice(options.model, options.device, options.threads)


def _tell(sentence: str) -> None:
    print(sentence, flush=True)


def _print_verdict(result: dict) -> None:
    """What the result is worth, first of all."""
    from ..report.words import headline

    verdict = result["verdict"]
    print(headline(verdict))
    for title, sentences in (("Because", verdict["reasons"]), ("Next", verdict["advice"])):
        for number, sentence in enumerate(sentences):
            print(f"{'' if number else title + ':':17s} {sentence}")


def _print_modification(result: dict, options) -> None:
    from ..report.words import about_beyond_data, about_given_phases, about_ncs

    print(f"Mask:             {options.mask}, in each of {len(result['cycles'])} cycles")
    print(f"Engine:           {_engine(result)}")
    if result["free"]:
        print(f"Kept out:         {result['free']['n']} reflections with {result['free']['label']} "
              f"{result['free']['value']}")
    for name, said in (("Given phases:", about_given_phases(result)),
                       ("Beyond the data:", about_beyond_data(result).replace("Å", "A")),
                       ("NCS:", about_ncs(result))):
        if said:
            print(f"{name:17s} {said}")
    for ncs in result.get("ncs", []):
        print(f"NCS operator:     {ncs['operator']}, over {ncs['volume']:.2f} of the asymmetric unit, "
              f"correlation {ncs['correlation']:.2f}")
    print(f"Figure of merit:  {result['cycles'][-1]['fom']:.3f}")


def _print_solvent(result: dict) -> None:
    from ..report.words import RULES, likely_copies, quality_caveat

    solvent, device = result["solvent_content"], result["device"]
    print(f"Input columns:    {'; '.join(result['input']['labels'].values())}")
    print(f"Solvent content:  {solvent['value']:.3f} ({RULES[solvent['rule']]}"
          + (f"; network alone: {solvent['unet_expected']:.3f})" if device else ")"))
    composition = result.get("composition")
    if composition:
        parts = [f"{composition[kind] / 1000:.1f} kDa of {what}" for kind, what in
                 (("protein", "protein"), ("nucleic", "nucleic acid")) if composition[kind]]
        print(f"One copy:         {' and '.join(parts)}")
    copies = likely_copies(solvent)
    if copies:
        print(f"Copies:           {copies['copies']} in the asymmetric unit, "
              f"probability {copies['joint']:.2f}")
    quality = result.get("map_quality")
    if quality:
        print(f"Map quality:      correlation with the true map about {quality['correlation']:.2f} "
              f"+- {quality['uncertainty']:.2f}{quality_caveat(result)}")
    if device:
        print(f"Network:          {result['model']['name']} {result['model']['version']} "
              f"on {device['used']} by {device['provider']}")


def _engine(result: dict) -> str:
    """What modified the density, and how it got its masks."""
    if result["engine"] == "embedded":
        asked = "; auto is the embedded engine" if result["engine_asked"] == "auto" else ""
        return f"embedded{asked}"
    used = result["parrot"]
    kind = "patched" if used["patched"] else "unpatched"
    version = used["version"] or "of unknown version"
    return f"Parrot {version} ({used['path']}), {kind}; masks by {used['masks']}"


def _print_end(options) -> None:
    report = not getattr(options, "no_report", False)
    print(f"Results in {options.output}{'; open report.html there' if report else ''}.")
