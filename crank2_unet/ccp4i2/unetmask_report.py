"""Report of the task ``unetmask``."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from ..report.figures import data_uri
from .task_report import UnetReport, add_graph

_SECTION = ('<div style="display:inline-block;width:31%;min-width:240px;margin:0.5%;'
            'vertical-align:top"><p><b>{title}</b></p>{pictures}</div>')
_PICTURE = '<p>{title}</p><img src={source} alt={alt} style="width:100%"/>'


class unetmask_report(UnetReport):
    """Solvent content, how good the map is, pictures of the mask, graphs, and how it was found."""

    TASKNAME = "unetmask"

    def show_result(self, result: dict) -> None:
        self.show_answers("The mask is 1 in the solvent and 0 in the protein.", result=result)
        self._show_pictures(result)
        self._show_graphs(result)
        self.show_copies(result["solvent_content"]["matthews"])
        self.show_run(result)

    def _show_pictures(self, result: dict) -> None:
        sections: dict[str, list[str]] = {}
        for picture in result["outputs"]["pictures"]:
            content = (self.folder / picture["file"]).read_bytes()
            sections.setdefault(picture["section"], []).append(_PICTURE.format(
                title=escape(picture["title"]), source=quoteattr(data_uri(content, "png")),
                alt=quoteattr(f"{picture['title']}, {picture['section']}")))
        fold = self.addFold(label="Sections of the map", brief="Sections", initiallyOpen=True)
        fold.append("<p>One section across each cell axis, where the mask tells most. The line is "
                    "the boundary between protein and solvent.</p>")
        fold.append("".join(["<div>", *(
            _SECTION.format(title=escape(title), pictures="".join(pictures))
            for title, pictures in sections.items()), "</div>"]))

    def _show_graphs(self, result: dict) -> None:
        fold = self.addFold(label="How the answer was found", brief="Graphs", initiallyOpen=True)
        curves = result["solvent_content"]["distributions"]
        labels = {"matthews": "Matthews", "unet": "network", "joint": "both_together"}
        columns = [(label, curves[key]) for key, label in labels.items() if curves.get(key)]
        add_graph(fold, "Solvent content", "solvent content", "probability density",
                  [("solvent_content", curves["solvent"]), *columns])
        histogram = result["mask"]["histogram"]
        edges, total = histogram["edges"], sum(histogram["counts"])
        add_graph(fold, "How sure the network is", "P(solvent)", "share of the points",
                  [("P(solvent)", [(low + high) / 2 for low, high in zip(edges, edges[1:])]),
                   ("share", [count / total for count in histogram["counts"]])])
        fold.addDiv(style="clear:both;")
