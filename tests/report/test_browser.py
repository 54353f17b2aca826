"""The pages in a real browser: no error, nothing fetched, and the map answers the pointer."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from fedspine.report.pages import write_reports

from .run_folder import SITES, write_run

pytestmark = pytest.mark.browser

OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,1600",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no Chromium with its driver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    session = webdriver.Chrome(options=options, service=Service(driver))
    yield session
    session.quit()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("report") / "run")
    write_reports(folder)
    return folder


@pytest.mark.parametrize("page", ["report.html", f"sites/{SITES[0]}/report.html"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_opens_offline_without_an_error(browser: webdriver.Chrome, run: Path, page: str, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get((run / page).as_uri())
    assert browser.get_log("browser") == []
    fetched = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in fetched if not name.startswith("data:")] == []
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    broken = "return [...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert browser.execute_script(broken) == 0


def test_pointing_at_the_token_map_names_token_class_and_site(browser: webdriver.Chrome, run: Path) -> None:
    browser.get((run / f"sites/{SITES[0]}/report.html").as_uri())
    marks = browser.find_elements(By.CSS_SELECTOR, ".tokens svg [data-tip]")
    own = next(m for m in marks if SITES[0] in (m.get_attribute("data-tip") or ""))
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", own)
    browser.execute_script("arguments[0].dispatchEvent(new PointerEvent('pointerover', {bubbles: true}))", own)
    shown = browser.find_element(By.ID, "tip").text
    assert "token-" in shown
    assert SITES[0] in shown
    assert any(word in shown for word in ("normal", "benign", "malignant"))


def test_a_switch_takes_a_class_off_the_map(browser: webdriver.Chrome, run: Path) -> None:
    browser.get((run / "report.html").as_uri())
    button = browser.find_element(By.CSS_SELECTOR, "button[data-key='class'][data-value='benign']")
    browser.execute_script("arguments[0].click()", button)
    gone = browser.find_elements(By.CSS_SELECTOR, ".tokens svg [data-class='benign'].gone")
    assert gone
    assert len(gone) == len(browser.find_elements(By.CSS_SELECTOR, ".tokens svg [data-class='benign']"))
