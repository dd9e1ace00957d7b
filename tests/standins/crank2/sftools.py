"""Stand-in for sftools: read, list, checkhkl, select, calc, correl, absent, write."""

import re
import sys

import numpy as np
from tools import Table

table, chosen, seed = None, None, 1


def read(line):
    global table, chosen
    path, _, labels = line.split(None, 1)[1].partition(" col ")
    new = Table.read(path.strip(' ("),'), re.findall(r'[^" ]+', labels))
    if table is None:
        table = new
    else:
        table.join(new)
    chosen = np.ones(len(table.hkl), bool)
    print(f" {len(table.hkl)} reflections now stored in memory")


def list_(what):
    if what == "id":
        for i, (label, c) in enumerate(table.columns.items()):
            print(f"  {i + 1} {c.kind} {label}\ncrystal name: {c.crystal}\ndataset name: {c.dataset}")
    elif what == "dwave":
        for c in table.columns.values():
            print(f"  {c.wavelength:.5f}  {c.crystal}  {c.dataset}")
    else:
        for name, value in zip(("a", "b", "c", "alpha", "beta", "gamma"), table.cell.parameters):
            print(f" {name}  =  {value:.4f}")
        print(f" Space group name   : {table.spacegroup.hm}")
        print(f" Space group number : {table.spacegroup.ccp4}")


def checkhkl():
    for i, (label, c) in enumerate(table.columns.items()):
        seen = chosen & np.isfinite(c.values)
        if seen.any():
            v, d = c.values[seen], table.d()[seen]
            print(f"  {i + 1} {c.kind} {label[:12]} {v.min():.2f} {v.max():.2f} {v.mean():.2f} "
                  f"{d.min():.2f} {d.max():.2f}")


def select(words):
    global chosen
    if words[0] == "all":
        chosen[:] = True
    elif words[0] == "invert":
        chosen = ~chosen
    elif len(words) == 2:
        chosen &= np.isfinite(table.columns[words[1]].values)
    elif words[2].startswith("="):
        chosen &= table.columns[words[1]].values == float(words[2][1:])
    else:
        sys.exit(f"this stand-in does not know: select {' '.join(words)}")


def calc(words):
    global seed
    if words[0] == "seed":
        seed = int(words[1])
        return
    fraction = re.fullmatch(r"rfree\((.*)\)", words[-1])
    if words[:2] != ["I", "col"] or not fraction:
        sys.exit(f"this stand-in does not know: calc {' '.join(words)}")
    free = np.random.default_rng(seed).random(len(table.hkl)) < float(fraction[1])
    first = next(iter(table.columns.values()))
    table.columns[words[2]] = type(first)("I", first.crystal, first.dataset, first.wavelength,
                                          np.where(free, 0.0, 1.0))


def correl(words):
    a, b = (table.columns[label].values for label in words[1:3])
    both = chosen & np.isfinite(a) & np.isfinite(b)
    print(f" OVERALL STATISTICS {both.sum()} {np.corrcoef(a[both], b[both])[0, 1]:.4f}")


def absent(words):
    flag = table.columns[words[words.index("if") + 2]].values
    table.columns[words[1]].values[flag == float(words[-1])] = np.nan


lines = sys.stdin.read().splitlines()
for line in lines:
    words = [word.strip('"') for word in line.split()]
    name = words[0].lower() if words else ""
    if name == "read":
        read(line)
    elif name == "list":
        list_(words[1] if len(words) > 1 else "")
    elif name == "checkhkl":
        checkhkl()
    elif name == "select":
        select(words[1:])
    elif name == "calc":
        calc(line.split()[1:])
    elif name == "correl":
        correl(words[1:])
    elif name == "absent":
        absent(words[1:])
    elif name == "write":
        table.write(line.split(None, 1)[1].strip().strip('"'), chosen)
    elif name not in ("", "y", "quit", '"', "purge"):
        sys.exit(f"this stand-in does not know: {line}")
