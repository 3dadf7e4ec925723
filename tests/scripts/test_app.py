"""The page, called as Gradio calls it, and driven in a real browser where there is one."""

import contextlib
import importlib.util
import shutil
import socket
import time
from pathlib import Path

import pytest

from ovavss_d2 import segmenter as module
from ovavss_d2.segmenter import Segmenter
from tests.helpers.loud_left import write_config, write_video

pytest.importorskip("gradio", reason="the page needs the extra 'app'")
from ovavss_d2.inference.page import Limits, Page, launch  # noqa: E402

LIMITS = Limits(megabytes=1, seconds=4, names=3)


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "check_weight_files", lambda cfg: None)
    monkeypatch.setattr(module, "load_weights", lambda model, cfg: None)
    segmenter = Segmenter.from_config_file(write_config(tmp_path))
    sample = write_video(tmp_path / "sample.mp4", (1, 0, 1), size=(120, 160))
    page = Page(segmenter=segmenter, samples=[sample], limits=LIMITS)
    yield page
    page.close()


def ask(page, video, names="cat, dog", threshold=0.5, fps=1.0):
    return page.paint(str(video) if video else None, names, threshold, fps, lambda *_, **__: None)


def test_a_visitor_gets_a_video_a_table_and_files(page):
    status, video, rows, files = ask(page, page.samples[0])
    assert status.startswith("**cat, dog** sounded")
    assert Path(video).name == "sample.mp4"
    assert rows[0] == ["cat", "0 s", "1 s", "0.90"] and len(rows) == 4
    assert [Path(file).suffix for file in files] == [".mp4", ".jpg", ".zip", ".json"]
    assert ask(page, page.samples[0], "owl|bird")[2][0][0] == "owl"
    assert ask(page, page.samples[0], threshold=0.95)[2] == []


def test_errors_are_sentences_without_the_servers_paths(page, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"?" * 99)
    (tmp_path / "large.mp4").write_bytes(b"?" * 2_000_000)
    long = write_video(tmp_path / "long.mp4", (1,) * 6)
    for asked, sentence in [
        ((None,), "There is no video yet"),
        ((tmp_path / "broken.mp4",), "broken.mp4: not a readable video file"),
        ((tmp_path / "large.mp4",), "has 2 MB, at most 1 are taken"),
        ((long,), "lasts 6 s, at most 4 s are taken"),
        ((page.samples[0], " , "), "has no name"),
        ((page.samples[0], "a,b,c,d"), "4 names are too many"),
        ((page.samples[0], "a", 1.0, 0.0), "Fps is 0.0"),
    ]:
        status, video, rows, files = ask(page, *asked)
        assert sentence in status.replace("'", ""), status
        assert (video, rows, files) == (None, [], None)
        assert str(tmp_path) not in status and "\n" not in status
    assert not [path for path in page.folder.rglob("*") if path.is_file()]


def test_what_was_made_goes_after_an_hour_and_at_the_end(page, monkeypatch):
    _, video, _, _ = ask(page, page.samples[0])
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3700)
    ask(page, None)
    assert not Path(video).exists()
    page.close()
    assert not page.folder.exists()


# -- in a browser ---------------------------------------------------------------------------------

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")


@pytest.fixture
def browser(page):
    if not (BROWSER and DRIVER and importlib.util.find_spec("selenium")):
        pytest.skip("no Chromium, chromedriver or Selenium here")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    blocks, url = launch(page, host="127.0.0.1", port=None)
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.url = url
    yield driver
    driver.quit()
    blocks.close()


class Visitor:
    """Does what a visitor does on the page."""

    def __init__(self, driver):
        """In a tab of its own."""
        self.driver = driver
        driver.switch_to.new_window("tab")
        self.window = driver.current_window_handle
        driver.get(driver.url)
        self.wait(lambda: self.find("#run"))

    def find(self, selector):
        return self.driver.find_elements("css selector", selector)

    def wait(self, condition, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := condition():
                return found
            time.sleep(0.2)
        raise AssertionError("the page did not get there")

    def choose(self, path):
        """Hand a file to the form, whatever comes of it."""
        self.wait(lambda: self.find("#video input[type=file]"))[0].send_keys(str(path))

    def upload(self, path):
        self.choose(path)
        self.wait(lambda: self.find("#video video"))

    def click(self, selector):
        """Click once nothing lies over it: a slow page draws its buttons before it is done."""
        from selenium.common.exceptions import ElementClickInterceptedException

        def clicked():
            with contextlib.suppress(ElementClickInterceptedException):
                self.find(selector)[0].click()
                return True

        self.wait(clicked)

    def remove(self):
        self.click("#video button[aria-label=Clear]")

    def type_names(self, names):
        from selenium.webdriver.common.keys import Keys

        (field,) = self.find("#names textarea")
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(names, Keys.TAB)

    def press(self):
        self.driver.switch_to.window(self.window)
        self.click("#run")

    def run(self, words):
        """Press the button and wait for a status with these words."""
        self.press()
        self.see(words)

    def see(self, words):
        self.driver.switch_to.window(self.window)
        self.wait(lambda: words in self.status())

    def body(self):
        return self.find("body")[0].text

    def status(self):
        return " ".join(element.text for element in self.find("#status"))

    def painted(self):
        """Size and length of the painted video that the browser has decoded."""
        script = (
            "const v = document.querySelector('#painted video');"
            "return v && v.readyState > 0 ? [v.videoWidth, v.videoHeight, v.duration] : null"
        )
        return self.wait(lambda: self.driver.execute_script(script))


def test_in_a_browser_a_visitor_uploads_runs_and_provokes_each_error(browser, tmp_path):
    visitor = Visitor(browser)
    visitor.run("There is no video yet")
    visitor.upload(write_video(tmp_path / "mine.mp4", (1, 0), size=(120, 160)))
    visitor.type_names("owl|bird, fox")
    visitor.run("owl, fox sounded")
    assert visitor.painted() == [160, 120, pytest.approx(2, abs=0.1)]
    assert "owl" in visitor.find("#table")[0].text
    assert "mine.json" in visitor.find("#files")[0].text.replace("\n", "")
    visitor.type_names("drum")  # another vocabulary on the same video
    visitor.run("drum sounded")
    visitor.type_names("a, b, c, d")
    visitor.run("4 names are too many")
    visitor.type_names(" ")
    visitor.run("has no name")
    visitor.type_names("cat")
    visitor.remove()
    visitor.upload(write_video(tmp_path / "long.mp4", (1,) * 6, size=(64, 64)))
    visitor.run("lasts 6 s, at most 4 s are taken")
    (tmp_path / "broken.mp4").write_bytes(b"?" * 99)
    visitor.remove()
    visitor.upload(tmp_path / "broken.mp4")
    visitor.run("not a readable video file")
    (tmp_path / "large.mp4").write_bytes(b"?" * 2_000_000)
    visitor.remove()
    visitor.choose(tmp_path / "large.mp4")
    visitor.wait(lambda: "exceed the maximum allowed size" in visitor.body())
    script = "return performance.getEntriesByType('resource').map(entry => entry.name)"
    elsewhere = [name for name in browser.execute_script(script) if "://127.0.0.1" not in name]
    assert [name for name in elsewhere if not name.startswith(("blob:", "data:"))] == []


def test_visitors_at_once_wait_for_each_other_and_get_their_own(browser, page, tmp_path):
    whole, at_work, most = page.segmenter.write, [], []

    def slowly(*args, **options):
        at_work.append(1)
        most.append(len(at_work))
        time.sleep(2)
        written = whole(*args, **options)
        at_work.pop()
        return written

    page.segmenter.write = slowly
    names = ("owl", "fox", "drum")
    visitors = [Visitor(browser) for _ in names]
    for visitor, name in zip(visitors, names, strict=True):
        browser.switch_to.window(visitor.window)
        visitor.upload(write_video(tmp_path / f"{name}.mp4", (1, 0), size=(64, 64)))
        visitor.type_names(name)
    for visitor in visitors:
        visitor.press()
    for visitor, name in zip(visitors, names, strict=True):
        visitor.see(f"{name} sounded")
        assert f"{name}.json" in visitor.find("#files")[0].text.replace("\n", "")
    assert most == [1, 1, 1]


def test_it_listens_on_loopback_alone(page, monkeypatch):
    bound = []
    whole = socket.socket.bind
    monkeypatch.setattr(
        socket.socket, "bind", lambda self, address: bound.append(address) or whole(self, address)
    )
    blocks, url = launch(page, host="127.0.0.1", port=None)
    blocks.close()
    assert url.startswith("http://127.0.0.1:")
    assert {address[0] for address in bound if isinstance(address, tuple)} <= {"127.0.0.1", ""}
