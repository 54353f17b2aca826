"""Write the pages of a run: the coordinator's, and one for each site that keeps it for itself."""

from __future__ import annotations

from pathlib import Path

from fedspine.report import coordinator, site_page
from fedspine.report.layout import page
from fedspine.report.run_files import read_run, read_sites, table
from fedspine.report.script import script
from fedspine.report.style import STYLE

PAGE = "report.html"


def write_reports(run: Path) -> Path:
    """Write `report.html` into the folder `run` and into each of its `sites/NAME`; return the first.

    Every page is one file that opens without a network. The coordinator's is made from released figures and public
    images alone; the sites' own files are read only for their own pages.

    Raises:
        InputError: if the folder holds no metrics of a known format.
    """
    released = read_run(run)
    name = table(released.metrics, "plan").get("name", "")
    first = run / PAGE
    first.write_text(
        page(
            f"fedspine report: {name}",
            coordinator.header(released),
            coordinator.sections(released),
            face="coordinator",
            style=STYLE,
            script=script(),
        ),
        encoding="utf-8",
    )
    for site in read_sites(run):
        text = page(
            f"fedspine site report: {site.name}",
            site_page.header(released, site),
            site_page.sections(released, site),
            face="site",
            style=STYLE,
            script=script(),
        )
        own = site.folder / PAGE
        own.touch(mode=0o600)  # it shows patients
        own.chmod(0o600)
        own.write_text(text, encoding="utf-8")
    return first
