"""The page for browsers, in headless Chromium, with a service and an Envoy of its own."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from regularization_client import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("yaml", reason="PyYAML is not installed (the extra: deployment)")
webdriver = pytest.importorskip(
    "selenium.webdriver", reason="Selenium is not installed (the extra: deployment)"
)

from selenium.webdriver.common.by import By  # noqa: E402 - of Selenium, too
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

from examples.web import serve  # noqa: E402 - it needs PyYAML

ENVOY = shutil.which("envoy", path=str(Path(sys.executable).parent)) or shutil.which("envoy")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
SECONDS = 30

pytestmark = [
    pytest.mark.skipif(ENVOY is None, reason="Envoy is not installed (the extra: deployment)"),
    pytest.mark.skipif(
        not CHROMIUM or not DRIVER, reason="Debian's chromium and chromium-driver are not installed"
    ),
]

EVERY_ROW = """
const [done] = arguments, at = (id) => document.getElementById(id), list = at("regularizer"), found = {};
(async () => {
  for (const { value } of list.options) {
    list.value = value;
    list.dispatchEvent(new Event("change"));
    while (at("answer").ariaBusy !== "false") await new Promise((go) => setTimeout(go, 5));
    found[value] = document.body.dataset.state === "answered" ? "" : at("refusal").textContent;
  }
  done(found);
})();
"""


class Page:
    """The page in a browser, as somebody sees it who uses it."""

    def __init__(self, driver: Any, address: str) -> None:
        self.driver, self.address = driver, address

    def open(self, service: str | None = None) -> Page:
        """Load it anew."""
        self.driver.get(f"{self.address.partition('?')[0]}?service={service}" if service else self.address)
        return self.settled()

    def settled(self) -> Page:
        """Wait until the last change has been answered."""
        ready = "return document.body.dataset.state && document.getElementById('answer').ariaBusy === 'false'"
        refused = "return document.body.dataset.state === 'refused'"
        WebDriverWait(self.driver, SECONDS, 0.02).until(
            lambda it: it.execute_script(ready) or it.execute_script(refused)
        )
        return self

    def at(self, selector: str) -> Any:
        """An element."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def choose(self, row: str) -> Page:
        """Choose a regularizer."""
        Select(self.at("#regularizer")).select_by_value(row)
        return self.settled()

    @property
    def elements(self) -> list[tuple[float, float]]:
        """Of each element, what it is and what comes of it, as the page reads them out."""
        handles = self.driver.find_elements(By.CSS_SELECTOR, ".handles [role=slider]")
        texts = [handle.get_attribute("aria-valuetext").replace("\N{MINUS SIGN}", "-") for handle in handles]
        pairs = [re.fullmatch(r"(\S+), becomes (\S+)", text) for text in texts]
        return [(float(pair[1]), float(pair[2])) for pair in pairs if pair]

    def figure(self, name: str) -> str:
        """A figure under the chart."""
        text: str = self.at(f"#{name}").text
        return text


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """The page, with its service."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    # Chromium's sandbox does not work for root, nor in many containers; the page is our own.
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,1000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with serve.page() as address:
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
        driver.set_script_timeout(60)
        try:
            yield Page(driver, address)
        finally:
            driver.quit()


def test_every_regularizer_is_answered_as_it_begins(page: Page) -> None:
    """All of the catalogue are there, and none is refused before anything is changed; no script fails."""
    page.open()
    found = page.driver.execute_async_script(EVERY_ROW)
    with Client() as client:
        assert sorted(found) == sorted(row.name for row in client.list_regularizers())
    assert {row: refusal for row, refusal in found.items() if refusal} == {}
    assert [line for line in page.driver.get_log("browser") if line["source"] != "network"] == []


def test_the_step_is_the_documented_one(page: Page) -> None:
    """Of the L1 norm, for the elements and the strength that the page shows."""
    page.open()
    strength = float(page.at("[name=strength] input[type=number]").get_attribute("value"))
    elements = page.elements
    assert len(elements) == 16
    for element, step in elements:
        shrunk = max(abs(element) - strength, 0.0)
        assert step == pytest.approx(shrunk if element > 0 else -shrunk, rel=1e-3, abs=1e-9)
    penalties = [strength * sum(abs(pair[index]) for pair in elements) for index in (0, 1)]
    shown = [float(page.figure(name)) for name in ("before-value", "after-value")]
    assert shown == pytest.approx(penalties, rel=1e-3)
    zeros = sum(step == 0 for _, step in elements)
    assert page.figure("zeros") == f"{zeros} of 16 are exactly 0"


def test_the_slider_goes_by_the_keyboard(page: Page) -> None:
    """A larger strength leaves fewer elements; the number beside the slider follows."""
    page.open()
    before = page.elements
    page.at("[name=strength] input[type=range]").send_keys(*[Keys.ARROW_RIGHT] * 10)
    after = page.settled().elements
    assert page.at("[name=strength] input[type=number]").get_attribute("value") == "0.4"
    assert [element for element, _ in after] == [element for element, _ in before]
    assert [step for _, step in after] != [step for _, step in before]


def test_elements_go_by_the_keyboard_and_by_the_mouse(page: Page) -> None:
    """An arrow is a small step, Home is zero; a drag takes the nearest handle along."""
    page.open()
    handle = page.driver.find_elements(By.CSS_SELECTOR, ".handles [role=slider]")[5]
    handle.send_keys(Keys.HOME, Keys.ARROW_UP, Keys.PAGE_UP)
    assert page.settled().elements[5] == pytest.approx((0.55, 0.25))
    dot = page.driver.find_elements(By.CSS_SELECTOR, ".handles circle")[7]
    webdriver.ActionChains(page.driver).click_and_hold(dot).move_by_offset(0, 60).move_by_offset(
        0, 60
    ).release().perform()
    element, step = page.settled().elements[7]
    assert element < -0.8
    assert step == pytest.approx(element + 0.3)
    assert page.at("#preset").get_attribute("value") == "own"


def test_a_refusal_is_shown_with_its_reason(page: Page) -> None:
    """And goes away with what was wrong."""
    page.open()
    field = page.at("[name=strength] input[type=number]")
    field.clear()
    field.send_keys("-1")
    page.settled()
    WebDriverWait(page.driver, SECONDS).until(lambda _: page.figure("refusal-text").endswith("got -1.0"))
    assert page.figure("refusal-reason") == "ERROR_REASON_FIELD_OUT_OF_RANGE"
    field.send_keys(Keys.HOME, Keys.DELETE)
    WebDriverWait(page.driver, SECONDS).until(lambda _: not page.at("#refusal").is_displayed())


def test_what_has_no_penalty_or_no_gradient_is_said(page: Page) -> None:
    """Dropout is a map; outside a set there is no subgradient."""
    page.open().choose("dropout")
    assert page.at("#map").is_displayed()
    page.choose("box")
    assert page.figure("before-value") == "∞"
    assert page.figure("after-value") == "0"
    page.at("[value=Gradient]").click()
    WebDriverWait(page.driver, SECONDS).until(lambda _: page.figure("refusal-reason"))
    assert page.figure("refusal-reason") == "ERROR_REASON_GRADIENT_UNDEFINED"


def test_one_choice_takes_the_place_of_the_other(page: Page) -> None:
    """Of a count and a fraction, which exclude each other in the schema, the last one touched holds."""
    page.open().choose("top_k")
    assert page.figure("zeros").startswith("12 of 16")
    page.at("[name=fraction] input[type=range]").send_keys(Keys.ARROW_RIGHT)
    WebDriverWait(page.driver, SECONDS).until(lambda _: page.figure("zeros").startswith("8 of 16"))
    assert not page.at("[name=count] legend input").is_selected()


def test_a_service_that_is_not_there_is_said(page: Page) -> None:
    """With the address that was tried."""
    page.open(service=f"http://localhost:{serve.free_port()}")
    assert "Nothing answers at http://localhost:" in page.figure("refusal-text")


def test_nothing_hangs_over_on_a_narrow_screen(page: Page) -> None:
    """Of 360 pixels, with the widest row."""
    page.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True},
    )
    try:
        page.open().choose("sparse_group_lasso")
        widths = "return [document.documentElement.scrollWidth, window.innerWidth]"
        wide, room = page.driver.execute_script(widths)
        assert wide <= room == 360
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_page_takes_nothing_from_elsewhere() -> None:
    """No file names another host, but for names of standards and the address to begin with."""
    for file in serve.PAGE.iterdir():
        hosts = set(re.findall(r"https?://([\w.-]+)", file.read_text(encoding="utf-8")))
        assert hosts <= {"www.w3.org", "localhost"}
