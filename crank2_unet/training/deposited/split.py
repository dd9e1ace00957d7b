"""Training and validation entries that share no cluster of sequences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

VALIDATION = 0.05  # share of the entries (paper, Table 3)


def families(codes: Sequence[str], clusters: Iterable[Sequence[str]]) -> np.ndarray:
    """Number of the family of each entry, (n,): entries are of one family if a chain of sequence
    clusters connects them; an entry of several proteins is in several clusters.

    Parameters
    ----------
    codes : of the entries, in capitals.
    clusters : codes of the entries in each cluster; others than ``codes`` connect nothing.
    """
    place = {code: i for i, code in enumerate(codes)}
    links = [(place[members[0]], place[other]) for members in
             ([code for code in cluster if code in place] for cluster in clusters)
             for other in members[1:]]
    rows, columns = np.array(links, int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(codes), len(codes)))
    return connected_components(graph, directed=False)[1]


def validation_families(family: np.ndarray, seed: int, share: float = VALIDATION) -> np.ndarray:
    """Whether each entry, (n,) bool, is kept for validation: whole families, chosen at random, until
    they hold a share of the entries."""
    size = np.bincount(family)
    order = np.random.default_rng(seed).permutation(len(size))
    wanted = share * len(family)
    chosen: list[int] = []
    for number in order:
        # one that would make it more than twice as many is left for training
        held = size[chosen].sum()
        if held < wanted and held + size[number] <= 2 * wanted:
            chosen.append(number)
    return np.isin(family, chosen)
