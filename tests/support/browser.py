"""Headless Chromium, as the tests of the report and of the page to draw on start it."""

import contextlib
import shutil
import time
from collections.abc import Iterator
from typing import Any

import pytest

DESKTOP, TABLET, PHONE = (1440, 900), (768, 1024), (390, 844)
WIDER_THAN_THE_PAGE = """
const [hidden, scrolling] = arguments;
const page = document.documentElement;
return [...document.querySelectorAll("body *:not(path)")]
  .filter((node) => !hidden || !node.closest(hidden))
  .filter((node) => !scrolling || !node.parentElement.closest(scrolling))
  .filter((node) => node.getBoundingClientRect().right > page.clientWidth + 0.5)
  .map((node) => node.outerHTML.slice(0, 80))
  .concat(page.scrollWidth > page.clientWidth ? ["the page scrolls"] : []);
"""


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Yield a WebDriver that logs all; skip the tests where there is no browser."""
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    browser, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not browser or not chromedriver:
        pytest.skip("no browser: Debian's packages chromium and chromium-driver bring it")
    options = selenium.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = selenium.Chrome(options, selenium.ChromeService(chromedriver))
    try:
        yield started
    finally:
        started.quit()


def emulate(
    driver: Any, size: tuple[int, int], scheme: str = "light", motion: str = "reduce"
) -> None:
    """Set the size of the window, the colour scheme, and the wish for motion."""
    width, height = size
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE},
    )
    features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": name, "value": value} for name, value in features.items()]},
    )


def wider_than_the_page(driver: Any, hidden: str = "", scrolling: str = "") -> list[str]:
    """Return the elements that reach beyond the page's right edge, and whether it scrolls there.

    Args:
      driver: with a page.
      hidden: selector of elements that do not count, with all that is in them.
      scrolling: of elements that scroll in themselves: they count, what is in them does not.
    """
    deadline = time.monotonic() + 5  # what follows the page's size does so a moment later
    while found := driver.execute_script(WIDER_THAN_THE_PAGE, hidden, scrolling):
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return found


def axe_violations(driver: Any, *excluded: str) -> list[tuple[str, str, list[str]]]:
    """Return what axe-core finds: rule, impact, elements; skip the test without its package.

    Args:
      driver: with a page.
      excluded: selectors of elements that are not looked at, with all that is in them.
    """
    axe = pytest.importorskip("selenium_axe_python").Axe(driver)
    axe.inject()
    driver.set_script_timeout(300)  # seconds: a busy machine takes long
    options = {"resultTypes": ["violations"]}  # selectors of all that passed take long to make
    context = {"exclude": [[selector] for selector in excluded]} if excluded else None
    found = axe.run(context, options)["violations"]
    return [
        (each["id"], each["impact"], [node["html"][:90] for node in each["nodes"]])
        for each in found
    ]
