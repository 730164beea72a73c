"""The page in headless Chromium, offline: it fits every window, asks for nothing, and is accessible."""

from __future__ import annotations

import shutil
from importlib.resources import files

import pytest

from calkd_edge.release.report.page import render_html

WIDTHS = (390, 768, 1440, 1920)
FIRST_SCREENS = {390: 844, 1440: 900}
TOO_WIDE = """() => {
  const window = document.documentElement.clientWidth;
  const name = e => e.tagName + '.' + e.getAttribute('class') + ' ' + (e.textContent || '').slice(0, 30);
  const shown = [...document.querySelectorAll('body *')].filter(e => e.getClientRects().length);
  const out = shown.filter(e => {
    const box = e.getBoundingClientRect();
    return box.right > window + 1 || box.left < -1;
  });
  const boxed = shown.filter(e => !e.closest('svg') && getComputedStyle(e).display != 'inline');
  const scrolling = boxed.filter(e => e.scrollWidth > e.clientWidth + 1);
  return [...new Set([...out, ...scrolling])].map(name);
}"""
"""Names of all elements that reach out of the window, or whose content is wider than their box."""

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:playwright.*")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (the extra [dev])")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=program)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, full_report, tmp_path):
    """Opens the page in a window; fails at the end if the page asked for anything or logged anything."""
    path = tmp_path / "report.html"
    path.write_text(render_html(full_report), encoding="utf-8")
    noted, pages = [], []

    def open_page(width=1440, height=900, *, unfold=True, **settings):
        page = browser.new_page(viewport={"width": width, "height": height}, offline=True, **settings)
        pages.append(page)
        page.on("console", lambda message: noted.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: noted.append(f"error: {error}"))
        page.on("request", lambda request: noted.append(request.url))
        page.goto(path.as_uri())
        if unfold:
            page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        return page

    yield open_page
    for page in pages:
        page.close()
    assert [text for text in noted if text != path.as_uri() and not text.startswith("data:")] == []


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_its_box(opened, width):
    page = opened(width)
    assert page.evaluate(TOO_WIDE) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("width", FIRST_SCREENS)
def test_the_first_screen_holds_the_verdict_the_recommendation_and_the_figures(opened, report, width):
    page = opened(width, FIRST_SCREENS[width], unfold=False)
    assert page.inner_text(".verdict").startswith(report.verdict)
    for selector in (".verdict", ".ship", ".tiles div:last-child"):
        box = page.locator(selector).first.bounding_box()
        assert box["y"] + box["height"] <= FIRST_SCREENS[width], selector
    assert page.locator(".tiles div").count() == 5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(opened, scheme):
    axe = pytest.importorskip("axe_playwright_python", reason="needs axe-playwright-python (the extra [dev])")
    page = opened(color_scheme=scheme, unfold=scheme == "light")
    page.evaluate((files(axe) / "axe.min.js").read_text(encoding="utf-8"))
    options = {"resultTypes": ["violations"]}
    if scheme == "dark":  # of which only the colours differ
        options["runOnly"] = ["color-contrast"]
    violations = page.evaluate("options => axe.run(options)", options)["violations"]
    serious = [one for one in violations if one["impact"] in ("serious", "critical")]
    assert [(one["id"], one["nodes"][0]["html"]) for one in serious] == []


def test_the_keyboard_reaches_the_contents_first_and_opens_what_is_folded(opened):
    page = opened(unfold=False)
    links = page.eval_on_selector_all("nav a", "all => all.map(one => one.getAttribute('href'))")
    reached = []
    for _ in links:
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.getAttribute('href')"))
    assert reached == links
    assert not page.locator("#definitions dl").is_visible()
    page.keyboard.press("Enter")  # on the last link, which leads to the definitions
    assert page.locator("#definitions dl").is_visible()


def test_paper_shows_what_the_screen_folds_and_no_contents(opened):
    page = opened(unfold=False)
    page.emulate_media(media="print")
    assert page.locator("#definitions dl").is_visible()
    assert not page.locator("nav").is_visible()
