"""What the reports of our tasks have in common: result.json in the elements that CCP4i2 has."""

from __future__ import annotations

import json
from pathlib import Path
from xml.sax.saxutils import escape

from ..report.answers import verdict_of
from ..report.page import COLUMNS
from ..report.words import RULES, quality_caveat, show
from . import suite
from .task import RESULTS, complaint

_GRAPH = "width:420px;height:300px;border:0px;float:left;"


class UnetReport(suite.WithReferences, suite.Report):
    """Calls ``show_result`` with the result of a job that went well; else shows what went wrong."""

    RUNNING = False
    FAILED = True
    USEPROGRAMXML = False

    def __init__(self, xmlnode=None, jobInfo=None, jobStatus=None, **keywords):
        jobInfo = jobInfo or {}
        super().__init__(xmlnode=xmlnode, jobInfo=jobInfo, jobStatus=jobStatus, **keywords)
        job = Path(jobInfo.get("fileroot", "."))
        self.folder = job / RESULTS
        try:
            result = json.loads((self.folder / "result.json").read_text())
        except OSError:  # the job failed or is not yet there
            text = complaint(job) or "Nothing was made; the log of the job may say why."
            self.append(f"<p><b>{escape(text)}</b></p>")
            return
        self.show_result(result)

    def show_answers(self, *sentences: str, result: dict) -> None:
        """The verdict, sentences in HTML, what can be said of solvent content and map, all doubts."""
        results = self.addResults()
        for sentence in [*_verdict(result), *sentences, _solvent(result["solvent_content"]),
                         *_quality(result)]:
            results.append(f"<p>{sentence}</p>")
        for warning in [*filter(None, [result["device"]["note"]]), *result["warnings"]]:
            results.append(f"<p><b>Warning:</b> {escape(warning)}</p>")

    def show_copies(self, options: list[dict]) -> None:
        if options:
            self.show_table("Copies in the asymmetric unit", "Copies", options)

    def show_table(self, label: str, brief: str, rows: list[dict]) -> None:
        """A fold with a table; all rows have the same keys."""
        table = self.addFold(label=label, brief=brief).addTable()
        for key in rows[0]:
            table.addData(title=COLUMNS.get(key, key.replace("_", " ")),
                          data=[show(row[key]) for row in rows])

    def show_run(self, result: dict) -> None:
        """Versions, device and data."""
        fold = self.addFold(label="What was run", brief="Run")
        table = fold.addTable(transpose=True)
        device, data = result["device"], result["input"]
        for title, value in (
                ("Program", f"crank2-unet {result['program']['version']}"),
                ("Network", f"{result['model']['name']} {result['model']['version']}"),
                ("Device", f"{device['used'].upper()}, {device['threads']} threads"),
                ("Time", f"{result['timings']['total']:.1f} s"),
                ("Space group", data["spacegroup"]),
                ("Resolution", f"{data['d_max']:.2f}-{data['d_min']:.2f} A"),
                ("Reflections", f"{data['n_measured']} of {data['n_reflections']}"),
                ("All files, with a report of their own", str(self.folder))):
            table.addData(title=title, data=[value])


def _verdict(result: dict) -> list[str]:
    """On a map after density modification, with its reasons and what to do."""
    if "verdict" not in result:
        return []
    verdict = verdict_of(result)
    return [f"<b>{escape(verdict.line)}</b>", *map(escape, [*verdict.reasons, *verdict.advice])]


def _solvent(solvent: dict) -> str:
    alone = "" if solvent["rule"] == "unet" else (
        f"; the network alone gives {solvent['unet_expected']:.1%}")
    return (f"The solvent content is <b>{solvent['value']:.1%}</b>, "
            f"{escape(RULES.get(solvent['rule'], solvent['rule']))}{alone}.")


def _quality(result: dict) -> list[str]:
    """What the network thinks of the map given, and whether there is a doubt, if it can tell."""
    quality = result.get("map_quality")
    if not quality:
        return []
    doubts = "; ".join(result["doubts"])
    return [f"The map given{escape(quality_caveat(result))} is expected to correlate with the true one "
            f"by <b>{quality['correlation']:.2f}</b> &#177; {quality['uncertainty']:.2f}.",
            f"<b>Doubts: {escape(doubts)}</b>; see the warnings." if doubts else
            "There is no doubt about this map."]


def add_graph(parent, title: str, x_label: str, y_label: str, columns: list[tuple]) -> None:
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
