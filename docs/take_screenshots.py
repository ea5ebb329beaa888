"""Takes the pictures of a run's report, or of a running service, with a real Chromium.

    python docs/take_screenshots.py RUN_FOLDER [--into docs/images]
    python docs/take_screenshots.py http://127.0.0.1:8123 [--token TOKEN] [--into /tmp]

Of a report: light and dark first screens, the grid of decisions, a case page, and the first screen on a phone. Of a service:
its first page, its newest decision and the newest run, at 1440 and 390 pixels, light and dark.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Shot:
    """One picture."""

    name: str
    page: str
    """report, or case for the first case page."""
    part: str | None = None
    """CSS selector of what is shown; None is the window."""
    width: int = 1440
    height: int = 1000
    scheme: str = "light"


SHOTS = (
    Shot("report", "report"),
    Shot("report-dark", "report", scheme="dark"),
    Shot("report-phone", "report", width=390, height=844),
    Shot("differences", "report", "#measures"),
    Shot("money", "report", "#money"),
    Shot("decisions", "report", "#decisions"),
    Shot("case", "case", height=1200),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Take the README's pictures of a run's report.")
    parser.add_argument("source", help="folder with report.html and cases/, or the address of a service")
    parser.add_argument("--into", type=Path, default=Path("docs/images"))
    parser.add_argument("--token", help="token of a service that needs one")
    arguments = parser.parse_args()
    arguments.into.mkdir(parents=True, exist_ok=True)
    if arguments.source.startswith("http"):
        take_service(arguments.source.rstrip("/"), arguments.token, arguments.into)
    else:
        take(Path(arguments.source), arguments.into)


def take(run: Path, into: Path) -> None:
    """Write one PNG per shot."""
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        for shot in SHOTS:
            _take_one(browser, shot, _file(run, shot.page), into / f"{shot.name}.png")
        browser.close()


def take_service(url: str, token: str | None, into: Path) -> None:
    """Write service-PAGE-WIDTH-SCHEME.png of each page."""
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        for width, height in ((1440, 1000), (390, 844)):
            for scheme in ("light", "dark"):
                context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
                if token:
                    context.add_cookies([{"name": "harness_token", "value": token, "url": url}])
                tab = context.new_page()
                for name, address in _service_pages(tab, url).items():
                    tab.goto(address)
                    tab.screenshot(path=into / f"service-{name}-{width}-{scheme}.png", full_page=True)
                context.close()
        browser.close()


def _service_pages(tab: Any, url: str) -> dict[str, str]:
    """Name -> address of the pages that the first one links."""
    tab.goto(url)
    links = {"job": "tr:has-text('completed') a[href^='/page/jobs/']", "run": "a[href^='/page/runs/']"}
    first = {name: tab.locator(link).first for name, link in links.items() if tab.locator(link).count()}
    return {"home": url} | {name: url + link.get_attribute("href") for name, link in first.items()}


def _file(run: Path, page: str) -> Path:
    return run / "report.html" if page == "report" else min((run / "cases").glob("*.html"))


def _take_one(browser: Any, shot: Shot, file: Path, target: Path) -> None:
    size = {"width": shot.width, "height": shot.height}
    context = browser.new_context(viewport=size, color_scheme=shot.scheme, device_scale_factor=1)
    tab = context.new_page()
    tab.goto(file.resolve().as_uri())
    if shot.part is None:
        tab.screenshot(path=target)
    else:
        tab.evaluate("document.querySelector('nav.top').hidden = true")
        tab.locator(shot.part).screenshot(path=target)
    context.close()


if __name__ == "__main__":
    main()
