"""Headless Chromium, as the tests of the report and of the page to draw on start it."""

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

DESKTOP, TABLET, PHONE = (1440, 900), (768, 1024), (390, 844)


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
