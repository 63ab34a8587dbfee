"""The page in headless Chromium, from disk."""

import json
import os
import shutil

import numpy as np
import pytest
from helpers.page_folder import SHAPE, labels, page_of, write_pictures
from helpers.results_folder import cell, plan, write_plan, write_record

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver")

SECONDS = int(os.environ.get("SEMISEG_BROWSER_SECONDS", 30))  # that one step of the page may take
NO_WEBGL = "This browser has no WebGL: surfaces in 3D cannot be drawn."
FLAGS = ("--headless=new", "--no-sandbox", "--enable-unsafe-swiftshader", "--use-angle=swiftshader", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-dev-shm-usage")  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of one experiment with two budgets and a failed trial, and its address."""
    folder = tmp_path_factory.mktemp("results")
    cells = [cell("a", role="floor", unlabelled=0), cell("b"), cell("c", display="Gamma"), cell("d"), cell("b", 16),
             cell("b", 16, 2)]  # fmt: skip
    planned = plan(cells, evaluation={"postprocessing": "largest_component"})
    write_plan(folder, planned)
    for planned_cell, seconds in zip([*cells[:3], *cells[4:]], (3900, 30, 36000, 3540, 3540), strict=True):
        write_record(folder, planned, planned_cell, provenance={"seconds_training": seconds})
    write_record(folder, planned, cells[3], state="failed", reason="out of memory")
    write_pictures(folder, planned)
    return page_of(folder, out=tmp_path_factory.mktemp("page")).as_uri()


@pytest.fixture(scope="module")
def browser(page, tmp_path_factory):
    """One Chromium with the page open; what it asks for and complains of is in its logs."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.command_executor.client_config.timeout = 10 * SECONDS
    driver.set_script_timeout(5 * SECONDS)
    driver.set_page_load_timeout(5 * SECONDS)
    resize(driver, 1280)
    driver.get(page)
    until(driver, "return document.documentElement.classList.contains('ready')")
    yield driver
    driver.quit()


def resize(browser, width):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def until(browser, script, *arguments):
    """Wait until a script returns something true, and return that."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, SECONDS).until(lambda _: browser.execute_script(script, *arguments), script)


def find(browser, selector):
    from selenium.webdriver.common.by import By

    return browser.find_element(By.CSS_SELECTOR, selector)


def part(browser, name):
    return find(browser, f'[data-part="{name}"]')


def choose(browser, name, value):
    script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change'))"
    browser.execute_script(script, part(browser, name), str(value))


def click(browser, element):
    """A real click, where neither the head of the page nor that of a table covers the element."""
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()


def press(browser, element, *keys):
    from selenium.webdriver import ActionChains

    browser.execute_script("arguments[0].scrollIntoView({block: 'center'}); arguments[0].focus()", element)
    ActionChains(browser).send_keys(*keys).perform()


def column(browser, table, place):
    """The texts of the rows shown."""
    script = """const rows = [...document.querySelectorAll(`#${arguments[0]} tbody tr`)];
        return rows.map(row => row.cells[arguments[1]].innerText)"""
    return [text.strip() for text in browser.execute_script(script, table, place)]


def picture(browser):
    return browser.execute_script("return arguments[0].toDataURL()", part(browser, "slice"))


def decoded(browser):
    until(browser, "return document.querySelector('[data-part=where]').innerText.startsWith('Slice ')")


def opened(browser, number):
    """Choose a case and wait until it is drawn."""
    choose(browser, "case", number)
    name = browser.execute_script("return arguments[0].selectedOptions[0].text", part(browser, "case"))
    until(browser, "return document.querySelector('[data-part=slice]').ariaLabel.includes(arguments[0])", name)


def test_a_click_on_a_heading_sorts(browser):
    heading = "#e1-comparison-0 thead th:nth-child(2)"
    for direction in ("ascending", "descending"):
        click(browser, find(browser, heading))
        until(browser, f"return document.querySelector('{heading}[aria-sort={direction}]')")
        numbers = [float(text.split()[0]) for text in column(browser, "e1-comparison-0", 1) if text[0].isdigit()]
        assert numbers == sorted(numbers, reverse=direction == "descending") and len(numbers) == 3


@pytest.mark.parametrize(
    "place, shortest_first",
    [(0, ["A (floor)", "B", "D", "Gamma"]), (2, ["30.0 s", "1 h 05 min", "10 h 00 min", "failed"])],
)
def test_columns_sort_by_values_not_by_what_is_printed(browser, place, shortest_first):
    """Cells without a value stay last."""
    heading = f"#e1-cost-0 thead th:nth-child({place + 1})"
    known = [text for text in shortest_first if text != "failed"]
    for direction, expected in (("ascending", known), ("descending", known[::-1])):
        click(browser, find(browser, heading))
        until(browser, f"return document.querySelector('{heading}[aria-sort={direction}]')")
        assert column(browser, "e1-cost-0", place) == expected + shortest_first[len(known) :]


def test_filters(browser):
    table = "e1-measures-table"
    everything = len(column(browser, table, 0))
    assert set(column(browser, table, 3)) == {"largest component alone"}  # what the headline shows
    for label, value in (("Predictions", "as predicted"), ("Unit", "mm"), ("Measure", "ASSD")):
        script = """const bar = document.getElementById(arguments[0]).querySelector(".bar");
            const label = [...bar.querySelectorAll("label")].find(label => label.innerText.startsWith(arguments[1]));
            const select = label.querySelector("select");
            select.value = arguments[2];
            select.dispatchEvent(new Event("change"));"""
        browser.execute_script(script, table, label, value)
    assert set(column(browser, table, 3)) == {"as predicted"}
    assert set(column(browser, table, 4)) == {"ASSD"} and set(column(browser, table, 5)) == {"mm"}
    assert 0 < len(column(browser, table, 0)) < everything
    search = find(browser, f"#{table} input[type=search]")
    search.send_keys("gamma")
    assert column(browser, table, 0) == ["Gamma"]


def test_a_row_unfolds_its_provenance(browser):
    click(browser, find(browser, "#e1-comparison-0 button.open"))
    text = find(browser, "#e1-comparison-0 td.detail").text
    assert "split hash 5911a5" in text and "Someone, 2021" in text and "Record" in text
    click(browser, find(browser, "#e1-comparison-0 button.open"))


def test_what_decides_is_in_view_and_the_rest_on_demand(browser):
    shown = """const headings = [...document.querySelectorAll('#e1-comparison-0 thead th')];
        return headings.filter(th => th.offsetWidth).map(th => [th.innerText, th.getBoundingClientRect().right])"""
    resize(browser, 1280)
    headings = dict(browser.execute_script(shown))
    assert max(headings.values()) < 1280
    names = " ".join(headings)
    assert all(name in names for name in ("Dice [%]", "Dice of ", "95HD", "Seeds", "Rank", "p over seeds"))
    assert "Jaccard" not in names and "Empty" not in names
    button = find(browser, "#e1-comparison-0 button.columns")
    click(browser, button)
    assert button.get_attribute("aria-pressed") == "true"
    every = " ".join(text for text, _ in browser.execute_script(shown))
    assert all(name in every for name in ("Jaccard", "ASD", "Empty", "Labelled", "p over cases"))
    click(browser, button)
    assert dict(browser.execute_script(shown)) == headings
    resize(browser, 400)
    first, second, *_ = browser.execute_script(shown)
    assert first[0].startswith("Method") and second[0].startswith("Dice") and second[1] < 400
    resize(browser, 1280)


def test_copy_as_latex(browser):
    browser.execute_script("navigator.clipboard.writeText = async text => { window.copied = text }")
    click(browser, find(browser, "#e1-comparison .copy button"))
    until(browser, "return document.querySelector('#e1-comparison .copy output').textContent === 'Copied.'")
    copied = browser.execute_script("return window.copied")
    assert r"\begin{tabular}" in copied and r"\end{table}" in copied


def test_a_click_on_the_heat_map_opens_a_case(browser):
    from selenium.webdriver import ActionChains

    decoded(browser)
    data = json.loads(find(browser, "#e1-viewer > script").get_attribute("textContent"))
    place = """const map = document.querySelector("[data-part=heatmap]"); map.scrollIntoView({block: "center"});
        const [box, {xaxis, yaxis}] = [map.getBoundingClientRect(), map._fullLayout];
        return [box.x + xaxis._offset + xaxis.d2p(arguments[0]), box.y + yaxis._offset + yaxis.d2p(arguments[1])]"""
    x, y = (round(value) for value in browser.execute_script(place, 4, 2))
    actions = ActionChains(browser)
    actions.w3c_actions.pointer_action.move_to_location(x, y)
    actions.w3c_actions.pointer_action.click()
    actions.perform()
    until(browser, "return document.querySelector('[data-part=case]').value === '4'")
    assert part(browser, "a").get_property("value") == "2"
    label = part(browser, "slice").get_attribute("aria-label")
    until(
        browser, "return document.querySelector('[data-part=slice]').ariaLabel.includes(arguments[0])", data["cases"][4]
    )
    assert part(browser, "name-a").text == data["views"][data["first"]]["labels"][2], label


def test_budget_and_run_are_chosen_among_those_that_exist(browser):
    options = "return [...document.querySelectorAll(`[data-part=${arguments[0]}] option`)].map(option => option.text)"
    offered = {name: browser.execute_script(options, name) for name in ("budget", "run", "a")}
    assert offered == {"budget": ["8", "16"], "run": ["seed 1"], "a": ["A (floor)", "B", "Gamma"]}
    decoded(browser)
    choose(browser, "a", 1)
    before = picture(browser)
    choose(browser, "budget", "16")
    assert browser.execute_script(options, "run") == ["seed 1", "seed 2"]
    assert browser.execute_script(options, "a") == ["B"] and part(browser, "name-a").text == "B", "the method stays"
    rows = "return document.querySelector('[data-part=heatmap]').data[0].z"
    seen = [(picture(browser), browser.execute_script(rows))]
    choose(browser, "run", 2)
    seen.append((picture(browser), browser.execute_script(rows)))
    assert seen[0][0] != seen[1][0] and seen[0][1] != seen[1][1] and len(seen[1][1]) == 1
    choose(browser, "budget", "8")
    assert part(browser, "a").get_property("value") == "1" and picture(browser) == before


def test_slices_scroll(browser):
    from selenium.webdriver.common.keys import Keys

    decoded(browser)
    where, before = part(browser, "where").text, picture(browser)
    press(browser, part(browser, "slice"), Keys.ARROW_UP)
    assert part(browser, "where").text != where and picture(browser) != before
    press(browser, part(browser, "slice"), Keys.ARROW_DOWN)
    assert part(browser, "where").text == where and picture(browser) == before
    wheel = "return arguments[0].dispatchEvent(new WheelEvent('wheel', {deltaY: arguments[1], cancelable: true}))"
    assert not browser.execute_script(wheel, part(browser, "slice"), -100)  # taken, not left to the page
    assert part(browser, "where").text != where
    press(browser, part(browser, "slice"), Keys.END)
    assert part(browser, "where").text.startswith(f"Slice {SHAPE[2] // 2} of {SHAPE[2] // 2}")
    assert browser.execute_script(wheel, part(browser, "slice"), -100)  # at the last slice the page scrolls


def test_overlays_and_window_change_the_picture(browser):
    from selenium.webdriver.common.keys import Keys

    decoded(browser)
    opened(browser, 0)
    choose(browser, "a", 0)
    seen = [picture(browser)]
    choose(browser, "a", 1)
    seen.append(picture(browser))
    choose(browser, "b", 2)
    seen.append(picture(browser))
    for selector in ('[data-part="truth"]', "[name$=style][value=fills]"):
        browser.execute_script("arguments[0].click()", find(browser, selector))
        seen.append(picture(browser))
    press(browser, part(browser, "window"), Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    seen.append(picture(browser))
    press(browser, part(browser, "level"), Keys.ARROW_LEFT)
    seen.append(picture(browser))
    assert len(set(seen)) == len(seen)
    for selector in ('[data-part="truth"]', "[name$=style][value=contours]"):
        browser.execute_script("arguments[0].click()", find(browser, selector))


def test_islands_come_and_go_with_the_postprocessing(browser):
    from selenium.webdriver.common.keys import Keys

    decoded(browser)
    press(browser, part(browser, "slice"), Keys.END)  # where the island is
    scored = picture(browser)
    choose(browser, "postprocessing", "none")
    assert picture(browser) != scored
    choose(browser, "postprocessing", "largest_component")
    assert picture(browser) == scored


def test_surfaces(browser):
    decoded(browser)
    choose(browser, "b", -1)
    click(browser, part(browser, "draw-surfaces"))
    until(
        browser,
        """const pane = document.querySelector("[data-part=surface]");
        return Boolean(pane._fullLayout) || document.querySelector("[data-part=surface-note]").innerText""",
    )
    if not browser.execute_script("return Boolean(document.createElement('canvas').getContext('webgl'))"):
        assert part(browser, "surface-note").text == NO_WEBGL
        return
    until(browser, "return Boolean(document.querySelector('[data-part=surface] canvas'))")
    meshes = browser.execute_script("""return document.querySelector("[data-part=surface]").data.map(
        ({name, x, y, z, i, j, k}) => ({name, points: [[...x], [...y], [...z]], faces: [[...i], [...j], [...k]]}))""")
    assert {mesh["name"] for mesh in meshes} == {"Truth", part(browser, "name-a").text}
    truth = next(mesh for mesh in meshes if mesh["name"] == "Truth")
    a, b, c = (np.array(truth["points"]).T[corner] for corner in truth["faces"])
    enclosed = (a * np.cross(b, c)).sum() / 6  # > 0: faces look outwards
    block = 8 * 0.625**3
    coarse = labels().reshape(24, 2, 20, 2, 16, 2).sum(axis=(1, 3, 5)) > 4
    assert enclosed == pytest.approx(coarse.sum() * block, rel=0.15)


def test_a_page_without_webgl_says_so(browser, page):
    browser.execute_cdp_cmd("Page.enable", {})
    hide = """const get = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
            return kind.startsWith("webgl") ? null : get.call(this, kind, ...more);
        };"""
    script = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": hide})
    browser.refresh()
    until(browser, "return document.documentElement.classList.contains('ready')")
    decoded(browser)
    click(browser, part(browser, "draw-surfaces"))
    assert part(browser, "surface-note").text == NO_WEBGL
    browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_never_scrolls_sideways(browser, width):
    resize(browser, width)
    until(browser, "return innerWidth === arguments[0]", width)
    click(browser, find(browser, "#e1-comparison-0 button.open"))
    browser.execute_script("document.querySelectorAll('details').forEach(details => { details.open = true })")
    until(browser, "return document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    click(browser, find(browser, "#e1-comparison-0 button.open"))
    resize(browser, 1280)


def test_nothing_was_complained_of_and_nothing_asked_for(browser):
    """Last: over all that the tests before have done."""
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    asked = {event["request"]["url"] for event in sent if event["documentURL"].startswith("file:")}
    assert asked and all(address.startswith(("file:", "data:", "blob:")) for address in asked)
