"""Report of the task ``unetdm``."""

from __future__ import annotations

from .task_report import UnetReport, add_graph


class unetdm_report(UnetReport):
    """Figure of merit, solvent content, how good the start map was, the cycles, and NCS."""

    TASKNAME = "unetdm"

    def show_result(self, result: dict) -> None:
        cycles, phases, ncs = result["cycles"], result["phases"], result.get("ncs")
        averaged = "" if ncs is None else (
            " The map was averaged over NCS." if ncs else " The map shows no NCS.")
        self.show_answers(
            f"The figure of merit is <b>{cycles[-1]['fom']:.2f}</b> after {len(cycles)} cycles. The "
            f"phases given claim {phases['claimed_fom']:.2f}, of which the modified map supports "
            f"{phases['supported_fom']:.2f}.{averaged}", result=result)
        fold = self.addFold(label="Cycle by cycle", brief="Cycles", initiallyOpen=True)
        numbers = ("cycle", [cycle["cycle"] for cycle in cycles])
        for title, y_label, keys in (
                ("Agreement", "figure of merit, correlation", ("fom", "f_correlation")),
                ("Change of phases", "degrees", ("phase_change",))):
            add_graph(fold, title, "cycle", y_label,
                      [numbers, *((key, [cycle[key] for cycle in cycles]) for key in keys)])
        fold.addDiv(style="clear:both;")
        if ncs:
            self.show_table("Non-crystallographic symmetry", "NCS", ncs)
        self.show_copies(result["solvent_content"]["matthews"])
        self.show_run(result)
