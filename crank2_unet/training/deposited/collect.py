"""The paper's data preparation (section 2.1): from a search of the PDB to maps with true masks.

A folder holds all of it: ``search.json``, ``clusters.txt`` and ``clusters.json`` (what the services
answered, and when), ``files`` (as downloaded, and where each came from), ``records`` (what became of
each entry), ``train`` and ``validation`` (prepared structures), ``manifest.json`` (everything, with
counts).  Each part is made once: an interrupted run is continued by repeating it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ... import __version__
from ...errors import InputError
from ...files.output import staged_file, write_json
from ..evaluation.metrics import format_table
from ..parallel import Kept, run_all, sha256
from .archive import KINDS, Archive, sad_query
from .entry import NO_ANOMALOUS, OURS, REASONS, UNREADABLE, prepare_entry
from .programs import CRANK2_UNET, Programs
from .split import families, validation_families
from .supply import Supply, downloaded, fetch_all, local, now, recorded

KEPT_OUT = "kept out, or of the family of one that is"
IDENTITY = 30  # per cent, of the clusters of sequences
SPLITS = ("train", "validation")


def from_pdb(out: str | Path, archive: Archive | None = None, d_min: float | None = None,
             **more) -> dict:
    """Find, download and prepare the SAD structures of the PDB.

    Parameters
    ----------
    out : folder of all results, made if need be.
    archive : the services; default: those of the RCSB.
    d_min : only entries that reach at most this resolution, Angstrom.
    more : see :func:`prepare_all`.

    Returns
    -------
    The manifest.

    Raises
    ------
    InputError : a service does not answer; nothing was found.
    """
    out, archive = Path(out), archive or Archive()
    _make(out)
    search = _search(out / "search.json", archive, sad_query(d_min))
    path, origin = _clusters(out, archive, set(search["codes"]))
    return prepare_all(out, search["codes"], _in_clusters(path.read_text(), set(search["codes"])),
                       {**search, "clusters": {**origin, "sha256": sha256(path)}},
                       partial(downloaded, out, archive), **more)


def from_folder(folder: str | Path, out: str | Path, clusters: str | Path | None = None,
                **more) -> dict:
    """Prepare entries whose files, named as in the PDB (``1abc.cif.gz``, ``1abc-sf.cif.gz``; also not
    compressed), are in a folder.

    Parameters
    ----------
    clusters : file with the entities of one cluster of sequences ("1ABC_1 2XYZ_1") on each line.
        Without it all entries are for training.
    more : see :func:`prepare_all`.

    Raises
    ------
    InputError : the folder holds no entry, or ``clusters`` cannot be read.
    """
    out, folder = Path(out), Path(folder).resolve()
    codes = sorted({path.name.partition("-sf.cif")[0].upper() for path in folder.glob("*-sf.cif*")})
    if not codes:
        raise InputError(f"{folder} holds no structure factors named CODE-sf.cif or CODE-sf.cif.gz.")
    members, origin = None, None
    if clusters:
        members = _in_clusters(_text(clusters), set(codes))
        origin = {"path": str(Path(clusters).resolve()), "sha256": sha256(clusters)}
    _make(out)
    return prepare_all(out, codes, members,
                       {"folder": str(folder), "codes": codes, "clusters": origin},
                       partial(local, folder), **more)


def prepare_all(out: Path, codes: list[str], clusters: list[list[str]] | None, source: dict,
                supply: Supply, keep_out: Iterable[str] = (), limit: int | None = None,
                later_cycles: int = 0, seed: int = 0, programs: Programs = CRANK2_UNET,
                workers: int = 1, scheduler: str | None = None) -> dict:
    """Fetch and prepare entries, and write the manifest.

    Parameters
    ----------
    codes : of the entries, in capitals.
    clusters : codes in each cluster of sequences; None: not known, all entries are for training.
    source : where codes and clusters are from, for the manifest.
    supply : gives the path of a file, in ``out`` or absolute, and its checksum; None without a file.
    keep_out : codes of entries that are not used, nor any of their families: those that a network
        will be judged by.
    limit : number of entries, chosen at random.
    later_cycles, seed : see :func:`.entry.prepare_entry`; ``seed`` also chooses the entries for
        validation.
    programs : for substructures and phases.
    workers, scheduler : see :func:`~crank2_unet.training.parallel.run_all`.
    """
    keep_out = {code.upper() for code in keep_out}
    every = sorted({*codes, *keep_out})
    family = families(every, clusters or [])
    validation = validation_families(family, seed) & (clusters is not None)
    barred = set(family[np.isin(every, sorted(keep_out))])
    place = {code: i for i, code in enumerate(every)}
    chosen = [codes[i] for i in sorted(np.random.default_rng(seed).permutation(len(codes))[:limit])]
    splits = {code: None if family[i] in barred else SPLITS[int(validation[i])]
              for i, code in enumerate(every)}
    used = [code for code in chosen if splits[code]]
    settings = {"version": __version__, "later_cycles": later_cycles, "seed": seed,
                "substructure": [*programs.substructure], "phasing": programs.phasing}
    files, failures = fetch_all(out, used, supply)
    kept = Kept(out / "records", settings, {
        code: [splits[code], *(file and file["sha256"] for file in those.values())]
        for code, those in files.items()})
    _sweep(out, splits, kept)
    jobs = {code: (str(out.resolve()), code, splits[code], later_cycles, seed, programs)
            for code in files}
    found, failed = run_all(_prepare, jobs, workers, scheduler, kept) if jobs else ({}, {})
    failures.update(failed)
    entries = []
    for code in chosen:
        result = found.get(code, {} if splits[code] else {"excluded": KEPT_OUT, "detail": ""})
        split = splits[code] if result.get("excluded", "") is None else None
        entries.append({"code": code, "family": int(family[place[code]]), **result, "split": split,
                        "files": files.get(code, {}),
                        "prepared": split and _described(out, _prepared(split, code))})
    manifest = {"settings": settings, "source": source,
                "identity": IDENTITY if clusters is not None else None,
                "keep_out": sorted(keep_out), "limit": limit,
                "counts": _counts(entries), "substructures": _substructures(entries),
                "splits": _splits(entries), "failures": failures,
                "entries": entries}
    with staged_file(out / "manifest.json") as file:
        write_json(manifest, file)
    return manifest


def _prepared(split: str, code: str) -> str:
    """Path, in the folder of results, of the prepared file of an entry."""
    return f"{split}/{code.lower()}_0.npz"


def _described(out: Path, path: str) -> dict[str, str]:
    return {"path": path, "sha256": sha256(out / path)}


def _sweep(out: Path, splits: dict[str, str | None], kept: Kept) -> None:
    """Remove prepared files that are of another split now, and results whose prepared file is gone."""
    there = set()
    for split in SPLITS:
        for path in (out / split).glob("*_0.npz"):
            code = path.name.partition("_")[0].upper()
            if splits.get(code, split) == split:
                there.add(code)
            else:
                path.unlink()
    for code in set(splits) - there:
        if (kept.read(code) or {}).get("excluded", "") is None:
            kept.forget(code)


def _make(out: Path) -> None:
    try:
        for name in ("files", *SPLITS):
            (out / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{error.filename} cannot be made ({error.strerror}). Choose another folder "
                         "with -o.") from error


def _search(path: Path, archive: Archive, query: dict) -> dict:
    """The answer of the search, of now or of an earlier run with the same query.

    Raises
    ------
    InputError : nothing was found; the answer that is there is of another query.
    """
    if path.exists():
        kept = json.loads(path.read_text())
        if kept["query"] == query:
            return kept
        raise InputError(f"{path} is of another search. Choose another folder with -o, or remove it to "
                         "search anew.")
    codes = list(tqdm(archive.find(query), desc="search", unit="entry", mininterval=1.0))
    if not codes:
        raise InputError("The search of the PDB found no entry.")
    answer = {"url": archive.search_url, "date": now(), "query": query, "codes": codes}
    with staged_file(path) as file:
        write_json(answer, file)
    return answer


def _clusters(out: Path, archive: Archive, codes: set[str]) -> tuple[Path, dict]:
    """File of the clusters of sequences that hold entries found, as they were in the first run, and
    where and when they came from."""
    path, told = out / "clusters.txt", out / "clusters.json"
    if not told.exists():
        url, clusters = archive.clusters(IDENTITY)
        with staged_file(path) as file:
            file.write_text("\n".join(" ".join(members) for members in clusters
                                      if codes.intersection(members)))
        with staged_file(told) as file:
            write_json({"url": url, "date": now()}, file)
    return path, json.loads(told.read_text())


def _in_clusters(text: str, codes: set[str]) -> list[list[str]]:
    every = ([entity.partition("_")[0].upper() for entity in line.split()]
             for line in text.splitlines())
    return [members for members in every if codes.intersection(members)]


def _prepare(out: str, code: str, split: str, later_cycles: int, seed: int,
             programs: Programs) -> dict:
    """What became of an entry; its prepared file is written, or removed."""
    prepared = Path(out) / _prepared(split, code)
    prepared.unlink(missing_ok=True)
    files = recorded(Path(out), code)
    for kind, reason in (("coordinates", UNREADABLE), ("reflections", NO_ANOMALOUS)):
        if not files[kind]:
            return {"excluded": reason, "detail": f"there is no file of {kind}"}
    coordinates, reflections = (str(Path(out) / files[kind]["path"]) for kind in KINDS)
    return prepare_entry(code, split, coordinates, reflections, str(prepared), later_cycles, seed,
                         programs)


def _counts(entries: list[dict]) -> dict[str, int]:
    """Entries that were found, that each exclusion took, and that remain."""
    found = Counter(entry.get("excluded", "failed") for entry in entries)
    return {"found": len(entries), **{reason: found[reason] for reason in (KEPT_OUT, *REASONS)},
            "failed": found["failed"], "used": found[None]}


def _substructures(entries: list[dict]) -> dict[str, int]:
    """Entries used by where their sites are from."""
    found = Counter(entry.get("substructure", 0) for entry in entries if entry["split"])
    return {f"found by command {number}" if number else "deposited": found[number]
            for number in sorted(found, key=lambda number: (number == 0, number))}


def _splits(entries: list[dict]) -> dict[str, dict[str, int]]:
    """Entries and families of each split."""
    return {split: {"entries": len(those), "families": len({e["family"] for e in those})}
            for split in SPLITS for those in [[e for e in entries if e["split"] == split]]}


def read_codes(path: str | Path) -> list[str]:
    """Codes in a file, separated by blanks, commas or lines.

    Raises
    ------
    InputError : it cannot be read.
    """
    return _text(path).replace(",", " ").split()


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from error


def render(manifest: dict) -> str:
    """The counts as the paper's Table 1, and the splits as its Table 3."""
    counts = format_table(["entries", ""], [[name + " *" * (name in (KEPT_OUT, *OURS)), count]
                                            for name, count in manifest["counts"].items()])
    splits = format_table(["split", "entries", "families"],
                          [[name, *values.values()] for name, values in manifest["splits"].items()])
    phasing = manifest["settings"]["phasing"] or "crank2-unet"
    sites = format_table([f"sites (phased by: {phasing})", "entries"],
                         [list(row) for row in manifest["substructures"].items()])
    failed = [f"{code} failed: {message}" for code, message in manifest["failures"].items()]
    return "\n".join([counts, "* a reason of ours, not of the paper", "", sites, "", splits, *failed])
