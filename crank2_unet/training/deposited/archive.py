"""The services of the PDB: search, files of an entry, clusters of sequences.

One request at a time and a pause between requests; a server that is busy is asked again, later and
later (it may say when).  Files appear under their names only when they are complete, and are then
kept for good.
"""

from __future__ import annotations

import gzip
import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from ... import __version__
from ...errors import InputError
from ..parallel import sha256

SEARCH = "https://search.rcsb.org/rcsbsearch/v2/query"
FILES = "https://files.rcsb.org/download"
CLUSTERS = "https://cdn.rcsb.org/resources/sequence/clusters"
KINDS = {"coordinates": "{}.cif.gz", "reflections": "{}-sf.cif.gz"}
_PAGE = 1000  # entries of an answer
_BUSY = (429, 500, 502, 503, 504)
_CHUNK = 1 << 16
_TIMEOUT = 60.0  # seconds without a byte


@dataclass(frozen=True)
class Download:
    """A file as it came: where from, SHA-256 and size in bytes."""

    url: str
    sha256: str
    size: int


class Missing(InputError):
    """The server has no such file."""


@dataclass(frozen=True)
class Archive:
    """The PDB by its services.

    Parameters
    ----------
    search_url, files_url, clusters_url : of the services; default: those of the RCSB.
    pause : seconds between two requests.
    attempts : for each request and each download before it counts as failed.
    backoff : seconds before the second attempt; twice as many before each further one.
    """

    search_url: str = SEARCH
    files_url: str = FILES
    clusters_url: str = CLUSTERS
    pause: float = 0.1
    attempts: int = 6
    backoff: float = 1.0
    _last: list[float] = field(default_factory=lambda: [0.0], repr=False)

    def find(self, query: dict) -> Iterator[str]:
        """Codes, in capitals, of the entries that a query finds, sorted by code.

        Parameters
        ----------
        query : "query" of a request to the search service.

        Raises
        ------
        InputError : the service does not answer, or not in its format.
        """
        start, total = 0, 1
        while start < total:
            request = {"query": query, "return_type": "entry", "request_options": {
                "paginate": {"start": start, "rows": _PAGE},
                "sort": [{"sort_by": "rcsb_id", "direction": "asc"}],
                "results_content_type": ["experimental"]}}
            answer = self._ask("POST", self.search_url, json=request)
            if answer.status_code == requests.codes.no_content:  # nothing found
                return
            try:
                found = answer.json()
                total, page = int(found["total_count"]), [r["identifier"] for r in found["result_set"]]
            except (ValueError, LookupError, TypeError) as error:
                raise InputError(f"{self.search_url} did not answer as a search service of the PDB "
                                 f"does: {answer.text[:80]!r}.") from error
            if not page:
                return
            yield from page
            start += len(page)

    def fetch(self, code: str, kind: str, path: Path) -> Download:
        """Download a file of an entry, compressed.

        Parameters
        ----------
        code : of the entry.
        kind : "coordinates" or "reflections".
        path : of the file; its folder exists.

        Raises
        ------
        Missing : the entry has no such file.
        InputError : the server does not answer, or the file stays incomplete or cannot be written.
        """
        url = f"{self.files_url}/{KINDS[kind].format(code.lower())}"
        part = path.with_name(f"{path.name}.part")
        for attempt in range(self.attempts):
            if attempt:
                time.sleep(self.backoff * 2 ** (attempt - 1))
            try:
                with self._ask("GET", url, stream=True) as answer, open(part, "wb") as file:
                    for chunk in answer.raw.stream(_CHUNK, decode_content=False):
                        file.write(chunk)
                _check_complete(part)
                break
            except (HTTPError, gzip.BadGzipFile, EOFError, zlib.error) as error:
                failure = error
            except OSError as error:
                part.unlink(missing_ok=True)
                raise InputError(f"{path} cannot be written ({error.strerror}). Make room, or choose "
                                 "another folder with -o.") from error
        else:
            part.unlink(missing_ok=True)
            raise InputError(f"{url} did not come completely in {self.attempts} attempts: {failure}.")
        os.replace(part, path)
        return Download(url, sha256(path), path.stat().st_size)

    def clusters(self, identity: int) -> tuple[str, list[list[str]]]:
        """Address of the clusters of protein sequences, and the codes, in capitals, of the entries in
        each.

        Parameters
        ----------
        identity : per cent of sequence identity within a cluster, of those that the PDB makes.

        Raises
        ------
        InputError : the service does not answer.
        """
        url = f"{self.clusters_url}/clusters-by-entity-{identity}.txt"
        return url, [[entity.partition("_")[0].upper() for entity in line.split()]
                     for line in self._ask("GET", url).text.splitlines()]

    @cached_property
    def _session(self) -> requests.Session:
        session = requests.Session()
        session.headers["User-Agent"] = f"crank2-unet/{__version__}"
        retry = Retry(total=self.attempts - 1, backoff_factor=self.backoff, status_forcelist=_BUSY,
                      allowed_methods=None, respect_retry_after_header=True)
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retry))
        return session

    def _ask(self, method: str, url: str, **more) -> requests.Response:
        """An answer of the server that is no error."""
        time.sleep(max(0.0, self._last[0] + self.pause - time.monotonic()))
        try:
            answer = self._session.request(method, url, timeout=_TIMEOUT, **more)
        except requests.RequestException as error:
            raise InputError(f"{url} does not answer: {error}. Repeat the command later; what is there "
                             "is kept.") from error
        finally:
            self._last[0] = time.monotonic()
        if answer.status_code == requests.codes.not_found:
            raise Missing(f"{url} does not exist.")
        if not answer.ok:
            raise InputError(f"{url} answers {answer.status_code} {answer.reason}: "
                             f"{answer.text[:80]!r}.")
        return answer


def _check_complete(path: Path) -> None:
    """Read a compressed file to its end, where its checksum stands."""
    with gzip.open(path) as file:
        while file.read(_CHUNK):
            pass


def sad_query(d_min: float | None = None) -> dict:
    """Query of the search service: X-ray structures of proteins, solved by SAD, with their data.

    The service knows the method of structure solution (``_refine.pdbx_method_to_determine_struct``),
    not that of phasing (``_phasing.method``), by which the paper searched as well.

    Parameters
    ----------
    d_min : only entries that reach at most this resolution, Angstrom: for a part of all.
    """
    def condition(attribute: str, operator: str, value) -> dict:
        return {"type": "terminal", "service": "text", "parameters": {
            "attribute": attribute, "operator": operator, "value": value}}

    wanted = [condition("exptl.method", "exact_match", "X-RAY DIFFRACTION"),
              condition("refine.pdbx_method_to_determine_struct", "contains_phrase", "SAD"),
              condition("entity_poly.rcsb_entity_polymer_type", "exact_match", "Protein"),
              condition("rcsb_accession_info.has_released_experimental_data", "exact_match", "Y")]
    if d_min is not None:
        wanted.append(condition("rcsb_entry_info.resolution_combined", "greater_or_equal", d_min))
    return {"type": "group", "logical_operator": "and", "nodes": wanted}
