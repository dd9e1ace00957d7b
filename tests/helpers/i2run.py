"""Runs a task headless with CCP4i2's own runner, as the suite's tests do: a job of its own project,
database and home folder for each call.

``python i2run.py FOLDER TASK --PARAMETER VALUE ...`` is what :func:`i2run` starts in a new process.
"""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """What is left of a job.

    Parameters
    ----------
    folder : of the job, with all its files.
    status : as CCP4i2 shows it, for example "Finished".
    files : name of the parameter -> annotation of each file that the job gave to the project.
    subtypes : name of the parameter -> subtype of these files, for example 4 = mask.
    report : what CCP4i2 sends to its client.
    errors : code and details of each entry of the job's error report.
    output : of the runner.
    """

    folder: Path
    status: str
    files: dict[str, str]
    subtypes: dict[str, int]
    report: ET.Element
    errors: list[tuple[int, str]]
    output: str

    def parameter(self, name: str) -> str:
        """Value of a parameter after the job."""
        return ET.parse(self.folder / "params.xml").find(f".//{name}").text


def i2run(folder: Path, task: str, *arguments, **environment) -> Job:
    """Run a task in ``folder``, which must not exist; ``environment`` is added to the caller's."""
    folder.mkdir()
    place = {"HOME": folder, "CCP4I2_DB_FILE": folder / "db.sqlite3", "CCP4I2_PROJECTS_DIR": folder,
             "DJANGO_SETTINGS_MODULE": "ccp4i2.config.settings"}
    run = subprocess.run(
        [sys.executable, __file__, str(folder), task, *map(str, arguments)], text=True, cwd=folder,
        env={**os.environ, **{key: str(value) for key, value in {**place, **environment}.items()}},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert (folder / "job.json").exists(), run.stdout
    job = json.loads((folder / "job.json").read_text())
    errors = [(int(error.findtext("code")), error.findtext("details"))
              for error in ET.parse(Path(job["folder"], "diagnostic.xml")).iter("errorReport")]
    return Job(Path(job["folder"]), job["status"], job["files"], job["subtypes"],
               ET.parse(folder / "report.xml").getroot(), errors, run.stdout)


def main(folder: Path, arguments: list[str]) -> None:
    import django

    django.setup()
    from ccp4i2.cli.i2run.CCP4i2RunnerDjango import CCP4i2RunnerDjango
    from ccp4i2.db import models
    from ccp4i2.lib.utils.reporting.i2_report import generate_job_report
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    runner = CCP4i2RunnerDjango([*arguments, "--project_name", "test", "--project_path",
                                 str(folder / "project")])
    runner.parseArgs()
    runner.execute()
    job = models.Job.objects.get(number="1")
    files = models.File.objects.filter(job=job, directory=models.File.Directory.JOB_DIR)
    ET.ElementTree(generate_job_report(job)).write(folder / "report.xml")
    (folder / "job.json").write_text(json.dumps({
        "folder": str(job.directory), "status": models.Job.Status(job.status).label,
        "files": {file.job_param_name: file.annotation for file in files},
        "subtypes": {file.job_param_name: file.sub_type for file in files}}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
