"""The page to draw on, open in a browser: draws on it, waits, and reads what it shows."""

import time
from collections.abc import Callable, Sequence
from typing import Any

# Draws strokes, coordinates in 0..255, with events that a program makes up.
DRAW = """
const [strokes] = arguments;
const sheet = document.querySelector("#sheet");
const { left, top, width, height } = sheet.getBoundingClientRect();
for (const [xs, ys] of strokes) {
  const at = (i) => ({
    pointerId: 1, bubbles: true, isPrimary: true,
    clientX: left + width * (0.1 + xs[i] / 320), clientY: top + height * (0.1 + ys[i] / 320),
  });
  sheet.dispatchEvent(new PointerEvent("pointerdown", at(0)));
  xs.forEach((_, i) => i && sheet.dispatchEvent(new PointerEvent("pointermove", at(i))));
  sheet.dispatchEvent(new PointerEvent("pointerup", at(xs.length - 1)));
}
"""
# Resolves when all is answered and shown.
SETTLE = """
const done = arguments[arguments.length - 1];
const isBusy = () => document.querySelector("#answers").ariaBusy === "true";
const look = () => (isBusy() ? setTimeout(look, 5) : done());
look();
"""
BITMAP = """
const { data } = document.querySelector("#bitmap").getContext("2d").getImageData(0, 0, 85, 85);
return Array.from({ length: 85 * 85 }, (_, i) => (data[4 * i + 3] ? 1 : 0)).join("");
"""


def leave(driver: Any) -> None:
    """Leave the page, which asks whether to, if there are drawings."""
    driver.execute_script(
        "addEventListener('beforeunload', e => e.stopImmediatePropagation(), true)"
    )
    driver.get("about:blank")


def find(driver: Any, name: str) -> Any:
    return driver.find_element("id", name)


def until(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < end, condition
        time.sleep(0.02)
    return found


def settle(driver: Any) -> None:
    driver.execute_async_script(SETTLE)


def draw(driver: Any, strokes: Sequence[Any]) -> None:
    driver.execute_script(DRAW, strokes)
    settle(driver)


def shown(driver: Any) -> list[tuple[str, ...]]:
    """Return the labels of the bars, the likeliest first, and their percentages."""
    rows = driver.find_elements("css selector", "#answers li:not(.empty)")
    return [tuple(row.text.split("\n")) for row in rows]


def button(driver: Any, name: str) -> Any:
    for each in driver.find_elements("tag name", "button"):
        if each.text == name:
            return each
    raise AssertionError(name)


def percent(probability: float) -> str:
    return f"{int(100 * probability + 0.5)} %" if probability >= 0.01 else "<1 %"


def card(driver: Any) -> list[str]:
    """Lines of the card of the game."""
    return str(find(driver, "card").text).split("\n")


def pass_time(driver: Any, seconds: float) -> None:
    driver.execute_script(
        "const now = performance.now.bind(performance);"
        "performance.now = () => now() + 1000 * arguments[0];".replace("arguments[0]", str(seconds))
    )


def allow_downloads(driver: Any, directory: Any) -> None:
    driver.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(directory)}
    )


def download(driver: Any, directory: Any) -> str:
    """Download what was saved; return the file's text."""
    button(driver, "Download").click()
    path = directory / "drawings.ndjson"
    until(path.exists)
    return str(path.read_text(encoding="utf-8"))
