"""Report of the task ``unetmask``: the contents of result.json in the elements that CCP4i2 has."""

from __future__ import annotations

import json
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from ..report.figures import data_uri
from ..report.page import COLUMNS
from ..report.words import RULES, show
from . import suite
from .unetmask import RESULTS, complaint

_GRAPH = "width:420px;height:300px;border:0px;float:left;"
_SECTION = ('<div style="display:inline-block;width:31%;min-width:240px;margin:0.5%;'
            'vertical-align:top"><p><b>{title}</b></p>{pictures}</div>')
_PICTURE = '<p>{title}</p><img src={source} alt={alt} style="width:100%"/>'


class unetmask_report(suite.WithReferences, suite.Report):
    """Solvent content, pictures of the mask, graphs, and how it was found."""

    TASKNAME = "unetmask"
    RUNNING = False
    FAILED = True
    USEPROGRAMXML = False

    def __init__(self, xmlnode=None, jobInfo=None, jobStatus=None, **keywords):
        jobInfo = jobInfo or {}
        super().__init__(xmlnode=xmlnode, jobInfo=jobInfo, jobStatus=jobStatus, **keywords)
        folder = Path(jobInfo.get("fileroot", "."))
        try:
            result = json.loads((folder / RESULTS / "result.json").read_text())
        except OSError:  # the job failed or is not yet there
            self._show_failure(complaint(folder))
            return
        self._show_answers(result)
        self._show_pictures(folder / RESULTS, result)
        self._show_graphs(result)
        self._show_copies(result["solvent_content"]["matthews"])
        self._show_run(result)

    def _show_failure(self, message: str) -> None:
        text = message or "No mask was made; the log of the job may say why."
        self.append(f"<p><b>{escape(text)}</b></p>")

    def _show_answers(self, result: dict) -> None:
        solvent = result["solvent_content"]
        network = "" if solvent["rule"] == "unet" else (
            f"; the network alone gives {solvent['unet_expected']:.1%}")
        results = self.addResults()
        results.append(f"<p>The solvent content is <b>{solvent['value']:.1%}</b>, "
                       f"{escape(RULES.get(solvent['rule'], solvent['rule']))}{network}. "
                       "The mask is 1 in the solvent and 0 in the protein.</p>")
        for warning in [*filter(None, [result["device"]["note"]]), *result["warnings"]]:
            results.append(f"<p><b>Warning:</b> {escape(warning)}</p>")

    def _show_pictures(self, folder: Path, result: dict) -> None:
        sections: dict[str, list[str]] = {}
        for picture in result["outputs"]["pictures"]:
            content = (folder / picture["file"]).read_bytes()
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
        _graph(fold, "Solvent content", "solvent content", "probability density",
               [("solvent_content", curves["solvent"]), *columns])
        histogram = result["mask"]["histogram"]
        edges, total = histogram["edges"], sum(histogram["counts"])
        _graph(fold, "How sure the network is", "P(solvent)", "share of the points",
               [("P(solvent)", [(low + high) / 2 for low, high in zip(edges, edges[1:])]),
                ("share", [count / total for count in histogram["counts"]])])
        fold.addDiv(style="clear:both;")

    def _show_copies(self, options: list[dict]) -> None:
        if options:
            fold = self.addFold(label="Copies in the asymmetric unit", brief="Copies")
            table = fold.addTable()
            for key in options[0]:
                table.addData(title=COLUMNS.get(key, key.replace("_", " ")),
                              data=[show(option[key]) for option in options])

    def _show_run(self, result: dict) -> None:
        fold = self.addFold(label="What was run", brief="Run")
        table = fold.addTable(transpose=True)
        device = result["device"]
        for title, value in (
                ("Program", f"crank2-unet {result['program']['version']}"),
                ("Network", f"{result['model']['name']} {result['model']['version']}"),
                ("Device", f"{device['used'].upper()}, {device['threads']} threads"),
                ("Time", f"{result['timings']['total']:.1f} s"),
                ("Space group", result["input"]["spacegroup"]),
                ("Resolution", f"{result['input']['d_max']:.2f}-{result['input']['d_min']:.2f} A"),
                ("Reflections", f"{result['input']['n_measured']} of "
                                f"{result['input']['n_reflections']}")):
            table.addData(title=title, data=[value])


def _graph(parent, title: str, x_label: str, y_label: str, columns: list[tuple]) -> None:
    """Lines of the second and later columns against the first; titles have no blanks in them."""
    graph = parent.addFlotGraph(title=title, style=_GRAPH)
    for label, values in columns:
        graph.addData(title=label, data=values)
    plot = graph.addPlotObject()
    for name, text in (("title", title), ("plottype", "xy"), ("xlabel", x_label),
                       ("ylabel", y_label)):
        plot.append(name, text)
    for number in range(2, len(columns) + 1):
        plot.append("plotline", xcol=1, ycol=number)
