"""The report in headless Chromium: at four widths, light and dark, nothing overlaps or is cut; the
section browser moves, terms explain themselves, nothing is said in the console.

Needs the extra ``browser`` and a Chromium: ``playwright install chromium-headless-shell``, a package of
the system, or the one that ``CRANK2_UNET_CHROMIUM`` names.  With ``CRANK2_UNET_SHOTS`` naming a folder,
the pictures are kept there.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from report_results import NASTY, full_result, layers

from crank2_unet.report.page import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="the extra 'browser' is not installed")
WIDTHS = {"phone": (390, 844), "tablet": (900, 1100), "laptop": (1280, 800), "projector": (1920, 1080)}
COMMANDS = {  # parts of the result that each shows
    "solve": ("verdict", "stages", "cycles", "shells", "phasing", "solvent_content", "mask"),
    "dm": ("verdict", "cycles", "shells", "solvent_content", "mask"),
    "segment": ("solvent_content", "mask", "map_quality"), "phase": ("phasing",), "hand": ("hands",)}
ALWAYS = ("schema", "status", "program", "arguments", "input", "warnings", "timings", "outputs")

FAULTS = (Path(__file__).parent / "faults.js").read_text(encoding="utf-8")


def chromium() -> str | None:
    """A Chromium of this machine; None: the one of playwright."""
    named = os.environ.get("CRANK2_UNET_CHROMIUM")
    return named or next(filter(None, map(shutil.which, (
        "chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as program:
        try:
            found = program.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"Chromium does not start: {error.message.splitlines()[0]}")
        yield found
        found.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """A report of each command, with reasonable names."""
    folder, full = tmp_path_factory.mktemp("reports"), full_result()
    full["hands"] = [{"file": file, "probability": probability, "contrast": 0.2, "skewness": 0.1}
                     for file, probability in (("phased.mtz", 0.95),
                                               ("a_long_name_of_a_file_of_the_other_hand.mtz", 0.05))]
    for command, parts in COMMANDS.items():
        result = {key: full[key] for key in ALWAYS + parts} | {"command": command}
        write_report(result, folder / f"{command}.html", layers())
    return folder


@pytest.fixture
def opened(browser, reports):
    """Opens a report; whatever its console says fails the test."""
    said, pages = [], []

    def open_page(command, width="laptop", scheme="light", **options):
        size = dict(zip(("width", "height"), WIDTHS[width]))
        page = browser.new_page(viewport=size, color_scheme=scheme, **options)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: request.url.startswith(("file:", "data:"))
                or said.append(request.url))
        page.goto((reports / f"{command}.html").as_uri())
        pages.append(page)
        return page
    yield open_page
    for page in pages:
        page.close()
    assert said == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_overlaps_or_is_cut(opened, command, width, scheme):
    page = opened(command, width, scheme)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.evaluate(FAULTS) == []
    folder = os.environ.get("CRANK2_UNET_SHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"{command}_{width}_{scheme}.png", full_page=True)


@pytest.mark.parametrize("style, fault", [
    (".tile { margin-left: -40px; }", "overlap"), (".facts { min-width: 3000px; }", "sticks out"),
    (".chart text { font-size: 30px; }", "cut")])
def test_faults_would_be_seen(opened, style, fault):
    page = opened("solve")
    page.add_style_tag(content=style)
    assert any(found.startswith(fault) for found in page.evaluate(FAULTS))


def contrast(page, selector):
    """Contrast of text to what is behind it (WCAG 2), the least of all elements."""
    return page.evaluate("""(selector) => {
      const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
      const luminance = (c) => c.slice(0, 3).map((v) => v / 255)
        .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
      const behind = (e) => { for (; e; e = e.parentElement) {
        const c = rgb(getComputedStyle(e).backgroundColor);
        if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
      return Math.min(...[...document.querySelectorAll(selector)].map((e) => {
        const style = getComputedStyle(e), text = rgb(e.closest("svg") ? style.fill : style.color);
        const [high, low] = [luminance(text), luminance(behind(e))].sort((a, b) => b - a);
        return (high + 0.05) / (low + 0.05); })); }""", selector)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(opened, scheme):
    page = opened("solve", scheme=scheme)
    assert contrast(page, "p, h1, h2, h3, td, th, dd, dt, li, a, b, span, code, .chart text") > 4.5


def pixels(page, number=0):
    return page.evaluate("(n) => document.querySelectorAll('canvas')[n].toDataURL()", number)


def test_section_browser_moves_by_slider_keyboard_and_pointer(opened):
    page = opened("dm")
    slider, place = page.locator("input[type=range]"), page.locator("output")
    seen, told = {pixels(page)}, {place.text_content()}

    def moved():
        image, text = pixels(page), place.text_content()
        assert image not in seen and text not in told
        seen.add(image)
        told.add(text)
    slider.focus()
    page.keyboard.press("ArrowRight")
    moved()
    for axis in ("b", "a"):
        page.get_by_label(axis, exact=True).check()
        assert f"along {axis})" in place.text_content()
        moved()
    canvas = page.locator("canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 110, box["y"] + 50)
    page.mouse.up()
    moved()
    assert "σ at 0." in page.locator(".value").first.text_content()
    assert canvas.get_attribute("aria-label") == f"Before, {place.text_content()}"


def test_each_picture_shows_what_is_chosen(opened):
    page = opened("dm")
    before, after = pixels(page, 0), pixels(page, 1)
    assert before != after
    page.get_by_label("Map in picture 1").select_option("After")
    assert pixels(page, 0) == after
    page.get_by_label("Map in picture 1").select_option("P(flat)")
    assert pixels(page, 0) not in (before, after)


def test_section_starts_where_the_still_picture_is(opened):
    """Both are drawn by different code from the same map."""
    page = opened("segment")
    difference = page.evaluate("""async () => {
      const still = document.querySelector(".still img"), canvas = document.querySelector("canvas");
      const copy = Object.assign(document.createElement("canvas"), { width: 60, height: 60 });
      const values = [still, canvas].map((source) => {
        const context = copy.getContext("2d", { willReadFrequently: true });
        context.clearRect(0, 0, 60, 60);
        context.drawImage(source, 0, 0, 60, 60);
        return context.getImageData(0, 0, 60, 60).data;
      });
      return values[0].reduce((sum, v, i) => sum + Math.abs(v - values[1][i]), 0) / values[0].length;
    }""")
    assert difference < 6  # of 255


@pytest.mark.parametrize("way", ["hover", "focus", "tap"])
def test_terms_explain_themselves(opened, way):
    page = opened("dm", "phone", has_touch=True)
    term, tip = page.locator(".tiles a.term").first, page.locator("#tip")
    assert tip.is_hidden()
    getattr(term, way)()
    assert tip.is_visible() and "of the finished model" in tip.text_content()
    box = tip.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= WIDTHS["phone"][0]
    assert box["y"] >= 0 and box["y"] + box["height"] <= WIDTHS["phone"][1]
    page.keyboard.press("Escape")
    assert tip.is_hidden()


def test_without_javascript_the_still_pictures_and_the_glossary_are_there(opened):
    page = opened("dm", java_script_enabled=False)
    assert page.locator(".browser").is_hidden() and page.locator(".still img").count() == 9
    page.locator(".tiles a.term").first.click()
    assert page.url.endswith("#term-correlation")


def test_nothing_of_what_is_written_is_run(opened):
    assert NASTY in opened("solve").locator("main").text_content()
