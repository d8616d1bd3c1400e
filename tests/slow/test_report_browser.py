"""The page of `vqad report` in headless Chromium: threshold, sorting, filters, keyboard, widths."""

import os
import shutil

import numpy as np
import pytest
from made_up_report import CLASSES, made_up_report
from sklearn.metrics import average_precision_score, roc_auc_score

playwright = pytest.importorskip(
    "playwright.sync_api", reason="needs Playwright: pip install -e '.[browser]'"
)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, as Debian's package chromium"),
]
# The long form: VQAD_REPORT_IMAGES=2000.
IMAGES = int(os.environ.get("VQAD_REPORT_IMAGES", "90"))


@pytest.fixture(scope="module")
def chromium():
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    content, cards = made_up_report(IMAGES, shape=(40, 64))
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_bytes(content)
    return path, cards


@pytest.fixture
def page(chromium, made_up):
    yield from opened(chromium, made_up[0])


def opened(chromium, path, **options):
    """The page in a new window; at the end: nothing was said or fetched."""
    page = chromium.new_page(**options)
    said, fetched = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: fetched.append(request.url))
    page.goto(path.as_uri())
    yield page
    page.close()
    assert said == []
    assert [url for url in fetched if not url.startswith("data:")] == [path.as_uri()]


def scores_and_labels(cards):
    return np.array([c.score for c in cards]), np.array([c.class_id > 0 for c in cards])


def check_verdicts(page, cards, threshold):
    scores, labels = scores_and_labels(cards)
    called = scores > threshold
    found, alarms = int((called & labels).sum()), int((called & ~labels).sum())
    wanted = {
        "found": str(found),
        "missed": str(labels.sum() - found),
        "alarms": str(alarms),
        "passed": str((~labels).sum() - alarms),
        "precision": f"{found / (found + alarms):.3f}" if called.any() else "not defined",
        "recall": f"{found / labels.sum():.3f}",
        "rate": f"{alarms / (~labels).sum():.3f}",
        "f1": f"{2 * found / (called.sum() + labels.sum()):.3f}",
    }
    assert {key: page.locator(f"#{key}").inner_text() for key in wanted} == wanted
    names = {
        (True, True): "found",
        (True, False): "false alarm",
        (False, True): "missed",
        (False, False): "passed",
    }
    cards_now = page.locator("#gallery li")
    verdicts = cards_now.evaluate_all("all => all.map(li => [li.image.name, li.dataset.verdict])")
    by_name = {c.name: names[bool(c.score > threshold), c.class_id > 0] for c in cards}
    assert dict(verdicts) == by_name


def limit(page):
    return float(page.locator("#exact").input_value())


def shown(page):
    return page.locator("#gallery li").evaluate_all(
        "all => all.map(li => [li.image.classId, li.image.score, li.image.name])"
    )


def test_figures_and_first_verdicts(page, made_up):
    cards = made_up[1]
    scores, labels = scores_and_labels(cards)
    assert page.locator("#roc-area").inner_text() == f"{roc_auc_score(labels, scores):.3f}"
    assert page.locator("#pr-area").inner_text() == f"{average_precision_score(labels, scores):.3f}"
    assert limit(page) == 0.41
    check_verdicts(page, cards, 0.41)


def test_the_threshold_moves(page, made_up):
    cards = made_up[1]
    slider = page.locator("#slider")
    slider.focus()
    for _ in range(5):
        page.keyboard.press("PageUp")
    assert limit(page) > 0.45
    check_verdicts(page, cards, limit(page))
    page.keyboard.press("ArrowLeft")
    for key, called in (("Home", IMAGES), ("End", 0)):
        page.keyboard.press(key)
        check_verdicts(page, cards, limit(page))
        assert sum(c.score > limit(page) for c in cards) == called
    page.locator("#exact").fill("0.3")
    check_verdicts(page, cards, 0.3)
    page.locator("#axis").select_option("ends")
    check_verdicts(page, cards, 0.3)
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert 0.3 < limit(page) < 0.31
    check_verdicts(page, cards, limit(page))
    page.get_by_role("button", name="Best F1 here").click()
    best = page.locator("#f1").inner_text()
    page.get_by_role("button", name="Calibrated").click()
    assert limit(page) == 0.41
    assert best >= page.locator("#f1").inner_text()


def test_sorting_and_filters(page, made_up):
    cards = made_up[1]
    high = [c.score for c in sorted(cards, key=lambda c: -c.score)]
    assert [score for _, score, _ in shown(page)] == high
    page.locator("#sort").select_option("low")
    assert [score for _, score, _ in shown(page)] == high[::-1]
    page.locator("#sort").select_option("near")
    distances = [abs(score - 0.41) for _, score, _ in shown(page)]
    assert distances == sorted(distances)
    page.locator("#sort").select_option("name")
    numbers = [int(name.split("_")[1][:-4]) for id_, _, name in shown(page) if id_ == 0]
    assert numbers == sorted(numbers)
    assert len(numbers) > 50
    page.locator("#class").select_option(label=CLASSES[3])
    assert len(shown(page)) == sum(c.class_id == 3 for c in cards)
    assert {id_ for id_, _, _ in shown(page)} == {3}
    page.locator("#show").select_option("missed")
    missed = sum(c.class_id == 3 and c.score <= 0.41 for c in cards)
    assert len(shown(page)) == missed > 0
    assert page.locator("#shown").inner_text() == f"{missed} of {IMAGES} images."
    page.locator("#class").select_option(label="all")
    page.locator("#show").select_option("false alarm")
    page.locator("#exact").fill("0.2")  # what is filtered follows the threshold
    alarms = sum(c.class_id == 0 and c.score > 0.2 for c in cards)
    assert len(shown(page)) == alarms > 0
    page.locator("#show").select_option("errors")
    assert len(shown(page)) == alarms + sum(c.class_id > 0 and c.score <= 0.2 for c in cards)
    page.locator("#show").select_option("passed")
    page.locator("#class").select_option(label=CLASSES[1])
    assert shown(page) == []


def opacity(card):
    return card.locator("img").nth(1).evaluate("image => getComputedStyle(image).opacity")


def test_overlays_by_hover_by_keyboard_and_always(page):
    cards = page.locator("#gallery li")
    assert page.locator("#gallery [tabindex='0']").count() == 1
    assert opacity(cards.nth(2)) == "0"
    cards.nth(2).hover()
    assert opacity(cards.nth(2)) == "1"
    assert cards.nth(2).locator("img").evaluate_all("all => all.every(i => i.naturalWidth === 64)")
    page.locator("#overlays").focus()
    page.keyboard.press("Tab")
    focused = "() => [...document.querySelectorAll('#gallery li')].indexOf(document.activeElement)"
    columns = page.locator("#gallery").evaluate(
        "list => getComputedStyle(list).gridTemplateColumns.split(' ').length"
    )
    steps = [("ArrowRight", 1), ("ArrowDown", columns + 1), ("ArrowLeft", columns), ("ArrowUp", 0)]
    for key, at in [*steps, ("ArrowLeft", 0), ("End", IMAGES - 1), ("Home", 0), ("ArrowRight", 1)]:
        page.keyboard.press(key)
        assert page.evaluate(focused) == at
        assert opacity(cards.nth(at)) == "1"
    assert page.locator("#gallery [tabindex='0']").count() == 1
    assert opacity(cards.nth(8)) == "0"
    page.locator("#overlays").check()
    assert opacity(cards.nth(8)) == "1"


def test_pictures_are_decoded_near_the_window(page):
    loaded = page.locator("#gallery img[src]")
    page.locator("#gallery li").last.scroll_into_view_if_needed()
    page.locator("#gallery li:last-child img[src]").first.wait_for()
    assert 0 < loaded.count() < 2 * IMAGES


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone(chromium, made_up, scheme):
    window = {"width": 390, "height": 844}
    for page in opened(chromium, made_up[0], viewport=window, color_scheme=scheme, has_touch=True):
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        back = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert back == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}[scheme]
        card = page.locator("#gallery li").nth(3)
        card.tap()
        # The click comes some time after the tap.
        playwright.expect(card.locator("img").nth(1)).to_have_css("opacity", "1")
        assert (
            page.locator("#gallery").evaluate(
                "list => getComputedStyle(list).gridTemplateColumns.split(' ').length"
            )
            == 2
        )
