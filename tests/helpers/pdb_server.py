"""A server with the formats of the PDB's services, and their bad days."""

import gzip
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from crank2_unet.training.deposited.archive import Archive


@dataclass
class Pdb:
    """What the server has.

    ``files`` by name ("1abc-sf.cif.gz"), ``clusters`` the text of the file of clusters, ``page``
    the most entries of an answer.  ``busy`` requests are refused with 503 at first; of each name
    in ``cut`` only half is sent the first time, of those in ``broken`` always.  ``asked`` are the
    paths of all requests.
    """

    codes: list
    files: dict
    clusters: str = ""
    page: int = 2
    busy: int = 0
    cut: set = field(default_factory=set)
    broken: set = field(default_factory=set)
    asked: list = field(default_factory=list)
    queries: list = field(default_factory=list)


@contextmanager
def served(pdb: Pdb):
    """The archive of a running server."""
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self, status, body=b"", **headers):
            self.send_response(status)
            for name, value in {"Content-Length": len(body), **headers}.items():
                self.send_header(name.replace("_", "-"), str(value))
            self.end_headers()
            self.wfile.write(body)

        def refused(self):
            pdb.asked.append(self.path)
            if pdb.busy:
                pdb.busy -= 1
                self.answer(503, Retry_After=0)
                return True
            return False

        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.refused():
                return
            pdb.queries.append(request)
            start = request["request_options"]["paginate"]["start"]
            page = pdb.codes[start:start + pdb.page]
            if not page:
                return self.answer(204)
            self.answer(200, json.dumps({
                "query_id": "1", "result_type": "entry", "total_count": len(pdb.codes),
                "result_set": [{"identifier": code, "score": 1.0} for code in page]}).encode())

        def do_GET(self):
            if self.refused():
                return
            name = self.path.rpartition("/")[2]
            if name.startswith("clusters-by-entity-30"):
                return self.answer(200, pdb.clusters.encode())
            if name not in pdb.files:
                return self.answer(404)
            body = gzip.compress(pdb.files[name].encode(), mtime=0)
            if name in pdb.cut | pdb.broken:
                pdb.cut.discard(name)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[:len(body) // 2])
                self.close_connection = True
                return
            self.answer(200, body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        yield Archive(f"{url}/rcsbsearch/v2/query", f"{url}/download", f"{url}/clusters",
                      pause=0.0, backoff=0.01, attempts=3)
    finally:
        server.shutdown()
        server.server_close()
