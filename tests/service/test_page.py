"""The service's page: jobs, a decision, the form with its price, the bill, in a real browser."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from harness.service.app import create_app
from harness.service.auth import READ, SUBMIT
from harness.service.service import Service
from harness.web.server import serving
from tests.fixtures.browser import Open, Opened
from tests.fixtures.runs import HOSTED, PATIENCE_S
from tests.service.conftest import Served
from tests.service.in_process import Desk
from tests.service.test_experiments import SMALL

PATIENCE_MS = 1000 * PATIENCE_S
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def decided(served: Served) -> str:
    """A job that has ended."""
    return str(served.ended(served.submit(arm="paid", date="2012-06-20")["job_id"])["job_id"])


def test_the_form_shows_the_price_before_anything_is_submitted(served: Served, decided: str, open_page: Open) -> None:
    jobs_before = served.http.get("/jobs").json()["total"]
    seen = open_page(served.url)
    tab = seen.page
    tab.fill("[name=ticker]", "aapl")
    tab.fill("input[type=date]", "2012-06-21")
    tab.select_option("[name=arm]", "paid")
    tab.get_by_role("button", name="Show the price").click(timeout=PATIENCE_MS)

    tab.wait_for_selector("text=what it costs", timeout=PATIENCE_MS)
    forecast = tab.locator("dt:has-text('Forecast') + dd").inner_text()
    assert re.match(r"\$0\.\d+, in 8 of 10 cases \$", forecast)
    assert served.http.get("/jobs").json()["total"] == jobs_before

    tab.get_by_role("button", name="Submit").click()
    tab.wait_for_url("**/page/jobs/*", timeout=PATIENCE_MS)
    tab.wait_for_selector(".rating", timeout=PATIENCE_MS)

    assert served.http.get("/jobs").json()["total"] == jobs_before + 1
    assert tab.locator("[data-open-only]").count() == 0, "an ended job cannot be stopped"
    assert seen.problems == []
    assert {request.split("/")[2] for request in seen.requests if request.startswith("http")} == {served.url.split("/")[2]}


def test_an_unknown_ticker_comes_back_in_the_form_with_its_reason(served: Served, open_page: Open) -> None:
    tab = open_page(served.url).page
    tab.fill("[name=ticker]", "<b>no</b>")
    tab.fill("input[type=date]", "2012-06-18")
    tab.get_by_role("button", name="Show the price").click()

    alert = tab.get_by_role("alert")
    alert.wait_for(timeout=PATIENCE_MS)
    assert "ticker" in alert.inner_text()
    assert tab.input_value("[name=ticker]") == "<b>no</b>"


def test_a_job_page_has_decision_cost_and_reports(served: Served, decided: str, open_page: Open) -> None:
    result = served.result(decided)
    tab = open_page(f"{served.url}/page/jobs/{decided}").page

    assert tab.locator(".rating").inner_text() == result["rating"]
    assert tab.locator("dt:has-text('Cost') + dd").inner_text().startswith("$")
    assert tab.locator("details").count() >= 8
    assert result["reports"]["market"].splitlines()[0][:30] in tab.locator("details:has-text('Market report') pre").inner_html()


def test_the_first_page_renews_itself(served: Served, decided: str, open_page: Open) -> None:
    tab = open_page(served.url).page
    job_id = served.submit(arm="own", date="2012-06-19")["job_id"]

    row = tab.locator(f"tr:has(a[href='/page/jobs/{job_id}'])")
    row.wait_for(timeout=PATIENCE_MS)
    row.get_by_text("completed").wait_for(timeout=PATIENCE_MS)
    assert tab.locator("#servers tbody tr").count() == 2
    assert "of $50.00" in tab.locator("#bill").inner_text()


def test_an_experiment_that_failed_before_its_run_is_on_the_first_page_and_runs_again_from_its_own(
    served: Served, decided: str, open_page: Open
) -> None:
    served.lab.fake.control(models=["tiny"])
    experiment_id = served.http.post("/experiments", json=SMALL | {"name": "again", "dates": ["2012-06-20"]}).json()[
        "experiment_id"
    ]
    tab = open_page(served.url).page
    row = tab.locator(f"tr:has(a[href='/page/experiments/{experiment_id}'])")
    row.get_by_text("failed").wait_for(timeout=PATIENCE_MS)
    assert f"has no model '{HOSTED}'; fix: name one that" in row.inner_text()

    served.lab.fake.control(models=[HOSTED, "tiny"])
    row.get_by_role("link").click()
    tab.get_by_role("button", name="Run it again").click()
    tab.get_by_role("link", name="Open the report").wait_for(timeout=PATIENCE_MS)
    tab.locator("[role=status] .good").get_by_text("done").wait_for(timeout=PATIENCE_MS)
    assert tab.get_by_role("button").count() == 0, "nothing is left to do"


def test_the_months_report_is_written_and_opened_under_its_own_policy(served: Served, decided: str, open_page: Open) -> None:
    seen = open_page(served.url)
    seen.page.get_by_role("link", name="This month's jobs and their report").click()
    seen.page.get_by_role("link", name="Open the report").click(timeout=PATIENCE_MS)
    seen.page.wait_for_url("**/report.html", timeout=PATIENCE_MS)

    assert seen.page.locator("html.js").count() == 1, "its script runs"
    assert seen.problems == []


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_axe_finds_no_serious_violation(served: Served, decided: str, open_page: Open, width: int, scheme: str) -> None:
    experiments = [each["experiment_id"] for each in served.http.get("/experiments").json()["experiments"][:1]]
    for path in ("/", f"/page/jobs/{decided}", *(f"/page/experiments/{experiment_id}" for experiment_id in experiments)):
        seen = open_page(served.url + path, width=width, scheme=scheme, bypass_csp=True)
        assert _violations(seen) == []
        assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def _violations(seen: Opened) -> list[tuple[str, list[str]]]:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(seen.page, options={"resultTypes": ["violations"]}).response["violations"]
    return [(each["id"], [node["html"][:120] for node in each["nodes"][:3]]) for each in found]


def test_everything_is_reached_by_the_keyboard(served: Served, decided: str, open_page: Open) -> None:
    tab = open_page(served.url).page
    reached = []
    for _ in range(16):
        tab.keyboard.press("Tab")
        reached.append(tab.evaluate("document.activeElement.name || document.activeElement.textContent.trim()"))

    assert reached[0] == "Skip to the content"
    assert {"ticker", "date", "arm", "Show the price"} <= set(reached)


@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {}])
def test_a_form_of_another_site_changes_nothing(served: Served, headers: dict[str, str]) -> None:
    jobs_before = served.http.get("/jobs").json()["total"]
    answer = served.http.post("/page/jobs", content="ticker=AAPL&date=2012-06-15&arm=paid", headers=FORM | headers)

    assert answer.status_code == 403
    assert served.http.get("/jobs").json()["total"] == jobs_before


def test_pages_have_a_strict_policy_and_no_inline_script(served: Served) -> None:
    answer = served.http.get("/")
    policy = answer.headers["content-security-policy"]

    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert re.findall(r"<script(?![^>]* src=)|<style| on\w+=|style=", answer.text) == []


def test_names_of_runs_never_become_paths(served: Served) -> None:
    for path in ("..%2F..", ".service/x", "lab/..%2F..%2Fetc", "lab/nothing"):
        assert served.http.get(f"/page/runs/{path}").status_code == 404
    month = served.http.get("/jobs").json()["jobs"][0]["month"]
    secret = served.http.get(f"/page/runs/lab/lab-{month}/manifest.json")
    assert secret.status_code == 404, "only the report's files are served"


def test_without_a_token_a_browser_signs_in_first(desk: Desk, tmp_path: Path, open_page: Open) -> None:
    options, resolved = desk
    service = Service(replace(options, state=tmp_path), resolved)
    token = service.tokens.create("first", frozenset({READ, SUBMIT}))
    with serving(create_app(service)) as url:
        tab = open_page(url).page
        assert tab.url == f"{url}/page/sign-in"

        tab.fill("[name=token]", "tah_wrong")
        tab.get_by_role("button", name="Sign in").click()
        tab.get_by_role("alert").wait_for(timeout=PATIENCE_MS)
        tab.fill("[name=token]", token)
        tab.get_by_role("button", name="Sign in").click()
        tab.wait_for_selector("text=Show the price", timeout=PATIENCE_MS)

        (cookie,) = tab.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert token not in tab.content()
        tab.get_by_role("button", name="Sign out").click()
        tab.wait_for_url("**/page/sign-in", timeout=PATIENCE_MS)
        assert httpx.get(f"{url}/page/live").status_code == 303
