"""Sequence files: FASTA, PIR in its variants, or bare letters, in any common encoding."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

import gemmi

from ..errors import InputError

_log = logging.getLogger(__name__)
# what a PIR entry is by its code: complete or fragment of a protein, linear or circular DNA or RNA
_PIR = {"P1": "AA", "F1": "AA", "DL": "DNA", "DC": "DNA", "RL": "RNA", "RC": "RNA", "N1": "", "N3": "",
        "XX": ""}
_WORDS = (("AA", r"protein|peptide"), ("RNA", r"\b[a-z]*rna\b|ribonucleotide"),
          ("DNA", r"\bdna\b|deoxyribonucleotide"))  # of titles
_BASES = set("ACGTUN")
_NEVER_ALONE = set("CTU")  # without these, glycine and alanine are likelier than bases
_ALIKE = 0.25  # share of equal letters at the same places; 0.06 for unrelated sequences
_TITLE = 30  # letters; a title without a space is not as long


@dataclass(frozen=True)
class Sequence:
    """One-letter codes, upper case, without gaps, and what they stand for."""

    letters: str
    kind: gemmi.ResidueKind

    @property
    def nucleic(self) -> bool:
        return self.kind != gemmi.ResidueKind.AA


def read_sequences(path: str | Path) -> list[Sequence]:
    """All sequences of a file.

    What each stands for is said by a PIR code or by a word such as "DNA" in the title; else a sequence
    of only A, C, G, T, U and N is nucleic acid (RNA if it has U) unless it has only A, G and N.

    Raises
    ------
    InputError : the file cannot be read, has a title without a sequence, or is an alignment.
    """
    entries = [(title, letters, _clean(letters)) for title, letters in _entries(_text(path), path)]
    if not entries or not all(letters for *_, letters in entries):
        raise InputError(f"{path} has a title without a sequence. Complete or remove it.")
    _check_alignment([letters for _, letters, _ in entries], path)
    return [_sequence(title, letters, path) for title, _, letters in entries]


def _check_alignment(sequences: list[str], path: str | Path) -> None:
    """Refuse sequences that are aligned, of which a crystal holds one; doubt those that may be."""
    aligned = [re.sub(r"[\s*]", "", letters).upper() for letters in sequences]
    if len(aligned) < 2 or len({len(letters) for letters in aligned}) > 1:
        return
    if any(re.search(r"[\-.]", letters) for letters in aligned):
        raise InputError(f"{path} is an alignment: its {len(aligned)} sequences have gaps and the same "
                         f"length, {len(aligned[0])}. Give the sequence of the crystal alone.")
    first = aligned[0]
    for other in aligned[1:]:
        same = sum(a == b for a, b in zip(first, other)) / len(first)
        if _ALIKE < same < 1:
            _log.warning("%s: its sequences have one length, and %.0f %% of the letters are the same, "
                         "as in an alignment. One copy is taken to hold each of them once; if the "
                         "crystal holds one, give that alone.", path, 100 * same)
            return


def _text(path: str | Path) -> str:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read as a FASTA or PIR sequence: {error}.") from error
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        text = content.decode("latin-1")  # titles only: letters of sequences are ASCII
    if "\0" in text:
        raise InputError(f"{path} cannot be read as a FASTA or PIR sequence: it is a binary file.")
    return text


def _entries(text: str, path: str | Path) -> list[tuple[str, str]]:
    """Titles, and letters as written; in a file .pir each entry has two lines of title, with or without
    a code."""
    lines = [line.strip() for line in text.splitlines() if not line.startswith(";")]
    while lines and not lines[-1].strip(">"):  # some end with lines of ">" alone
        lines.pop()
    starts = [number for number, line in enumerate(lines) if line.startswith(">")]
    if not starts:
        return [("", _bare(lines, path))] if lines else []
    if any(lines[:starts[0]]):
        raise InputError(f'{path} cannot be read as a FASTA or PIR sequence: it begins with '
                         f'"{next(filter(None, lines))[:40]}", not with ">".')
    pir = Path(path).suffix.lower() == ".pir"
    return [_entry(lines[start:end], pir) for start, end in zip(starts, [*starts[1:], len(lines)])]


def _bare(lines: list[str], path: str | Path) -> str:
    """Letters of a file without titles: lines of one word, or of blocks, with numbers or not."""
    words = [re.sub(r"\b\d+\b", " ", line).split() for line in lines]
    blocks = all(len({len(word) for word in line[:-1]}) <= 1
                 and len(line[-1]) <= len(line[0]) for line in words if len(line) > 1)
    letters = "".join(word for line in words for word in line)
    if not blocks or not re.fullmatch(r"[A-Za-z*\-]+(\([A-Za-z0-9]+\)[A-Za-z*\-]*)*", letters):
        raise InputError(f'{path} cannot be read as a FASTA or PIR sequence: it has no line with ">", '
                         'and '
                         "is no sequence of letters alone.")
    return letters


def _entry(lines: list[str], pir: bool) -> tuple[str, str]:
    """Title, and letters as written, of one entry; that of PIR has a second line of title, or should
    have."""
    title, body = lines[0][1:].strip(), lines[1:]
    if body and (pir or re.match(f"({'|'.join(_PIR)});", title, re.IGNORECASE)):
        rest = _clean("".join(body[1:]))
        missing = re.fullmatch(r"[A-Za-z]+\*?", body[0]) and (len(body[0]) >= _TITLE or not rest)
        if not missing:
            title, body = f"{title} {body[0]}", body[1:]
    return title, "".join(body)


def _clean(letters: str) -> str:
    return re.sub(r"[\s\-.*]|(?<![A-Za-z(])\d+(?![A-Za-z)])", "", letters).upper()


def _sequence(title: str, letters: str, path: str | Path) -> Sequence:
    kind = _PIR.get(title[:2].upper(), "") if title[2:3] == ";" else ""
    plain = set(re.sub(r"\(.*?\)", "", letters))
    if not kind and plain <= _BASES:
        kind = next((k for k, words in _WORDS if re.search(words, title, re.IGNORECASE)), "")
        if not kind:
            kind = "AA" if not plain & _NEVER_ALONE else "RNA" if "U" in plain else "DNA"
            if kind != "RNA":
                taken, other = ("protein", "DNA") if kind == "AA" else ("DNA", "protein")
                _log.warning('%s: the sequence %s, of letters %s only, is taken for %s. If it is not, '
                             'write "%s" into its title.', path, _short(letters),
                             "".join(sorted(plain)), taken, other)
    return Sequence(letters, getattr(gemmi.ResidueKind, kind or "AA"))


def _short(letters: str) -> str:
    return letters if len(letters) <= 12 else f"{letters[:9]}..."
