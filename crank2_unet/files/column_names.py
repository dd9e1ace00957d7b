"""Columns that a user names: labels, paths with crystal and dataset, stems of Clipper's labels."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace

from ..errors import InputError
from .columns import AMPLITUDES, INTENSITIES, MAP_COEFFICIENTS, MAPS, Column, ColumnSet, Kind, ranked


def named(columns: Sequence[Column], kind: Kind, text: str, source: str) -> ColumnSet:
    """The set that a user names: labels "F,SIGF", a path "/crystal/dataset/[F,SIGF]" with * for any, or
    a stem of Clipper's compound labels.

    Raises
    ------
    InputError : no such column, a wrong type or number, or several datasets with these labels.
    """
    where, labels = _parsed(text, kind)
    homes = [c for c in columns if all(wanted in ("", "*", is_) for wanted, is_ in
                                       zip(where, (c.crystal, c.dataset)))]
    if not homes:
        there = ", ".join(dict.fromkeys(f"/{c.crystal}/{c.dataset}" for c in columns))
        raise InputError(f"{source} has no dataset /{where[0]}/{where[1]}. It has {there}.")
    found = [[c for c in homes if c.label == label] for label in labels]
    for label, columns_found in zip(labels, found):
        if not columns_found:
            raise InputError(_unknown(label, homes, source))
    common = set.intersection(*({c.dataset_id for c in group} for group in found))
    if common:
        sets = [tuple(next(c for c in group if c.dataset_id == home) for group in found)
                for home in sorted(common)]
    else:
        sets = [tuple(group[0] for group in found)]
    chosen = [ColumnSet(kind, each) for each in sets]
    if len(chosen) > 1:
        raise InputError(f"{source} has {','.join(labels)} in {len(chosen)} datasets. Choose with "
                         + " or ".join(f"{kind.option} '{s.path}'" for s in chosen) + ".")
    return _typed(chosen[0], kind, source)


def _typed(chosen: ColumnSet, kind: Kind, source: str) -> ColumnSet:
    """A named set whose types suit its kind; intensities may stand for amplitudes."""
    if kind is AMPLITUDES and chosen.lead.type == "J":
        chosen, kind = replace(chosen, kind=INTENSITIES), INTENSITIES
    for column, wanted in zip(chosen.columns, kind.types):
        likely = {"F": "FG", "G": "FG", "J": "JK", "K": "JK", "Q": "QLM", "L": "QLM", "M": "QLM"}
        if column.type not in likely.get(wanted, wanted) + "R":
            raise InputError(f"Column {column.label} of {source} has type {column.type}; {kind.option} "
                             f"needs type {wanted} ({kind.what}).")
    if kind is MAP_COEFFICIENTS:
        return replace(chosen, meaning=ranked(MAPS, chosen.lead)[1])
    return chosen


def _parsed(text: str, kind: Kind) -> tuple[tuple[str, str], tuple[str, ...]]:
    """Crystal and dataset ("" for any) and labels."""
    head, _, tail = text.rpartition("/") if "[" not in text else (
        text[:text.index("[")].rstrip("/"), "", text[text.index("["):])
    path = [part for part in head.split("/") if part]
    where = (path[-2] if len(path) > 1 else "", path[-1] if path else "")
    stem = tail.strip("[]")
    labels = tuple(part.strip() for part in stem.split(","))
    if len(labels) == 1 and len(kind.types) > 1:
        labels = tuple(f"{stem}.{ending}" for ending in kind.clipper)
    if len(labels) != len(kind.types):
        raise InputError(f"{kind.option} {text} names {len(labels)} columns; {kind.what} are "
                         f"{len(kind.types)}, for instance {','.join(kind.clipper)}.")
    return where, labels


def _unknown(label: str, columns: Sequence[Column], source: str) -> str:
    known = [c.label for c in columns]
    near = difflib.get_close_matches(label, known, 1, 0.5)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"{source} has no column {label}{hint}. Its columns are: {', '.join(known)}."
