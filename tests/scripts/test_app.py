"""The web page, called as Gradio calls it, and in a browser if one is installed."""

import contextlib
import importlib.util
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from ovavss_d2 import segmenter as module
from ovavss_d2.commands.app import stamps_videos
from ovavss_d2.inference.request_guard import RequestGuard
from ovavss_d2.media.audio_pairing import AudioContext
from ovavss_d2.segmenter import Segmenter
from tests.helpers.paths import REPOSITORY
from tests.helpers.stub_model import write_config, write_video

pytest.importorskip("gradio", reason="the page needs the extra 'app'")
gradio_client = pytest.importorskip("gradio_client")
httpx = pytest.importorskip("httpx")
processing_utils = pytest.importorskip("gradio.processing_utils")
app = pytest.importorskip("ovavss_d2.commands.web_page")


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "check_weight_files", lambda cfg: None)
    monkeypatch.setattr(module, "load_weights", lambda model, cfg: None)
    segmenter = Segmenter.from_config_file(write_config(tmp_path))
    sample = write_video(tmp_path / "sample.mp4", (1, 0, 1), size=(120, 160))
    limits = app.Limits(megabytes=1, seconds=4, names=3)
    page = app.Page(segmenter=segmenter, samples=[sample], limits=limits)
    yield page
    page.close()


def ask(page, video, names="cat, dog", threshold=0.5, fps=1.0):
    return page.paint(str(video) if video else None, names, threshold, fps, lambda *_, **__: None)


def test_a_request_returns_a_video_a_table_and_files(page):
    status, video, rows, heard, files = ask(page, page.samples[0])
    assert status.startswith("**cat, dog** sounded")
    assert Path(video).name == "sample.mp4"
    assert rows[0] == ["cat", "0 s", "1 s", "0.90"] and len(rows) == 4 and heard == []
    assert [Path(file).suffix for file in files] == [".mp4", ".jpg", ".zip", ".json"]
    assert ask(page, page.samples[0], "owl|bird")[2][0][0] == "owl"
    assert ask(page, page.samples[0], threshold=0.95)[2] == []


def test_a_table_lists_the_names_that_are_heard(page):
    page.segmenter.context = AudioContext(16000, 1.0)
    assert ask(page, page.samples[0], threshold=0.95)[2:4] == (
        [],
        [["cat", "0 s", "1 s", "0.80"], ["cat", "2 s", "3 s", "0.80"]],
    )


def test_errors_are_sentences_without_folders_of_the_server(page, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"?" * 99)
    (tmp_path / "large.mp4").write_bytes(b"?" * 2_000_000)
    long = write_video(tmp_path / "long.mp4", (1,) * 6)
    for request, sentence in [
        ((None,), "The video is missing"),
        ((tmp_path / "broken.mp4",), "broken.mp4: not a readable video file"),
        ((tmp_path / "large.mp4",), "has 2 MB, the limit is 1"),
        ((long,), "lasts 6 s, the limit is 4 s"),
        ((page.samples[0], " , "), "has no name"),
        ((tmp_path,), "The video is missing"),
        ((page.samples[0], "a,b,c,d"), "4 names are too many"),
        ((page.samples[0], "a|b,c|d"), "4 names are too many"),
        ((page.samples[0], "a," * 500_000), "1000000 characters are too many for names"),
        ((page.samples[0], "a", 1.0, 0.0), "Fps is 0.0"),
        ((page.samples[0], "a", 1.0, 9.0), "Fps is 9.0, expected 0.5 to 8"),
        ((page.samples[0], "a", 1.0, math.nan), "Fps is nan"),
        ((page.samples[0], "a", None), "The threshold is None, expected 0 to 1"),
    ]:
        status, video, rows, heard, files = ask(page, *request)
        assert sentence in status.replace("'", ""), status
        assert (video, rows, files) == (None, [], None)
        assert str(tmp_path) not in status and "\n" not in status
    assert not [path for path in page.folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("typed", ["{}", "{}/names.txt", "names.txt", "toy"])
def test_names_of_a_visitor_are_never_paths(page, tmp_path, monkeypatch, typed):
    monkeypatch.chdir(tmp_path)
    for name in ("names.txt", "toy"):
        (tmp_path / name).write_text("secret")
    object.__setattr__(page.limits, "names", 30)
    typed = typed.format(tmp_path)
    names = {name for name, *_ in ask(page, page.samples[0], typed)[2]}
    assert names == ({"red circle", "red square"} if typed == "toy" else {typed})


def test_quoted_default_names_are_read_again(page, tmp_path):
    page.segmenter.set_vocabulary(['drum, "big"', "toy"])
    other = app.Page(segmenter=page.segmenter, samples=page.samples, limits=page.limits)
    rows = ask(other, page.samples[0], other._default_names)[2]
    other.close()
    assert [name for name, *_ in rows[:2]] == ['drum, "big"', "toy"]


def test_the_stamps_videos_are_samples_once_they_were_made(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert stamps_videos() == []
    videos = tmp_path / "stamps" / "videos"
    videos.mkdir(parents=True)
    for name in ("b.mp4", "a.mp4", "truth.json"):
        (videos / name).touch()
    assert stamps_videos() == [str(videos / "a.mp4"), str(videos / "b.mp4")]


def test_limits_are_positive_numbers():
    for limits in ({"seconds": math.nan}, {"megabytes": 0}, {"waiting": -1}):
        with pytest.raises(ValueError, match="expected a positive number"):
            app.Limits(**limits)


def test_results_are_deleted_after_an_hour_and_at_the_end(page, monkeypatch):
    _, video, *_ = ask(page, page.samples[0])
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3700)
    ask(page, None)
    assert not Path(video).exists()
    page.close()
    assert not page.folder.exists()


@pytest.fixture
def url(page):
    blocks, url = app.launch(page, host="127.0.0.1", port=None)
    yield url
    blocks.close()


def send(url, **headers):
    """The status of the answer to a request with these headers."""
    return httpx.get(url, headers=headers).status_code


def test_only_its_own_pages_reach_a_local_page(url):
    host = url.removeprefix("http://").rstrip("/")
    port = host.rpartition(":")[2]
    for good in (host, f"localhost:{port}", f"LOCALHOST:{port}", f"[::1]:{port}"):
        assert send(url, host=good) == 200
        assert send(url, host=good, origin=f"http://{good}") == 200
    for bad in ("evil.example", f"evil.example:{port}", f"127.0.0.1.evil.example:{port}", "[", "",
                f"localhost.:{port}", f"192.168.0.1:{port}", "evil.example@localhost"):  # fmt: skip
        assert send(url, host=bad) in (400, 403)
    for bad in ("http://evil.example", "null", "http://localhost:1", "http://["):
        assert send(url, origin=bad) == 403
        upload = httpx.post(
            f"{url}gradio_api/upload", headers={"origin": bad}, files={"files": b"x"}
        )
        assert upload.status_code == 403


@pytest.mark.parametrize("host, names", [("0.0.0.0", 1), ("localhost", 0), ("127.0.0.9", 0)])
def test_a_public_page_is_reached_by_address_and_by_the_name_of_the_machine(host, names):
    guard = RequestGuard(None, host=host)
    assert guard._is_own("localhost") and guard._is_own(f"{host}:80")
    for name in ("10.0.0.7:7860", "[fe80::1]:7860", socket.gethostname()):
        assert guard._is_own(name) == bool(names)
    assert not guard._is_own("evil.example")


def test_a_visitor_reads_no_file_and_no_address_of_the_server(url, page, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        processing_utils,
        "async_ssrf_protected_download",
        lambda *arguments, **_: asked.append(arguments),
    )
    (tmp_path / "secret.txt").write_text("secret")
    for path in (
        f"file={tmp_path}/secret.txt",
        f"file={page.uploads}/../../secret.txt",
        "file=http://127.0.0.1:1/a",
        "proxy=http://127.0.0.1:1/a",
    ):
        assert httpx.get(f"{url}gradio_api/{path}").status_code in (403, 404)
    assert httpx.post(f"{url}gradio_api/process_recording").status_code == 403
    for video in ("/etc/passwd", page.samples[0], "http://127.0.0.1:1/a.mp4", "file:/etc/passwd"):
        data = {"path": video, "meta": {"_type": "gradio.FileData"}}
        call = f"{url}gradio_api/call/paint"
        event = httpx.post(call, json={"data": [data, "cat", 0.5, 1]}).json()["event_id"]
        answer = httpx.get(f"{call}/{event}").text
        assert "event: error" in answer and "event: complete" not in answer
    assert asked == [] and not list(page.folder.iterdir())


def test_files_of_a_visitor_are_in_the_folder_of_the_page(url, page):
    client = gradio_client.Client(url, verbose=False, download_files=False)
    video = {"video": gradio_client.handle_file(page.samples[0])}
    status, painted, *_ = client.predict(video["video"], "cat, dog", 0.5, 1, api_name="/paint")
    assert status.startswith("**cat, dog** sounded")
    assert str(page.uploads) in str(painted) and len(list(page.uploads.rglob("*.mp4"))) >= 2


SERVE = """
import types
from ovavss_d2.commands import app
stub = types.SimpleNamespace(names=("cat",), threshold=0.5, has_audio_classifier=False)
app.Segmenter = types.SimpleNamespace(from_config_file=lambda *_, **__: stub)
app.run(["--config-file", "stub.yaml"])
"""


def test_a_killed_page_leaves_nothing_after_the_next_run(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    env = os.environ | {"TMPDIR": str(tmp_path)}
    for end, code in ((signal.SIGTERM, 143), (signal.SIGKILL, -9)):
        server = subprocess.Popen(
            [sys.executable, "-c", SERVE],
            cwd=REPOSITORY,
            env=env,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert any("The page is at" in line for line in server.stderr)
        (folder,) = tmp_path.glob(".*")
        server.send_signal(end)
        assert server.wait(60) == code
        server.stderr.close()
        assert folder.exists() == (end == signal.SIGKILL)
    stub = SimpleNamespace(names=("cat",), threshold=0.5, has_audio_classifier=False)
    page = app.Page(segmenter=stub, samples=[], limits=app.Limits())
    assert list(tmp_path.glob(".*")) == [page.folder.parent]
    page.close()
    assert not list(tmp_path.glob(".*"))


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")


@pytest.fixture
def browser(page):
    if not (BROWSER and DRIVER and importlib.util.find_spec("selenium")):
        pytest.skip("no Chromium, chromedriver or Selenium here")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    blocks, url = app.launch(page, host="127.0.0.1", port=None)
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.url = url
    yield driver
    driver.quit()
    blocks.close()


class Tab:
    """A user's browser tab with the page."""

    def __init__(self, driver):
        self.driver = driver
        driver.switch_to.new_window("tab")
        self.window = driver.current_window_handle
        driver.get(driver.url)
        self.wait(lambda: self.find("#run"))

    def find(self, selector):
        return self.driver.find_elements("css selector", selector)

    def text(self, selector):
        return " ".join(element.text for element in self.find(selector))

    def wait(self, condition, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := condition():
                return found
            time.sleep(0.2)
        raise AssertionError("timeout")

    def choose(self, path):
        """Give a file to the form, valid or not."""
        self.wait(lambda: self.find("#video input[type=file]"))[0].send_keys(str(path))

    def upload(self, path):
        self.choose(path)
        self.wait(lambda: self.find("#video video"))

    def click(self, selector):
        """Click once nothing covers the element: a slow page draws its buttons early."""
        from selenium.common.exceptions import ElementClickInterceptedException

        def clicked():
            with contextlib.suppress(ElementClickInterceptedException):
                self.find(selector)[0].click()
                return True

        self.wait(clicked)

    def remove(self):
        self.click("#video button[aria-label=Clear]")

    def enter_names(self, names):
        from selenium.webdriver.common.keys import Keys

        (field,) = self.find("#names textarea")
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(names, Keys.TAB)

    def press(self):
        self.driver.switch_to.window(self.window)
        self.click("#run")

    def expect(self, words):
        self.driver.switch_to.window(self.window)
        self.wait(lambda: words in self.text("#status"))

    def run(self, words):
        """Press the button and wait for a status with these words."""
        self.press()
        self.expect(words)

    def painted(self):
        """Width, height and duration of the painted video that the browser has decoded."""
        script = (
            "const v = document.querySelector('#painted video');"
            "return v && v.readyState > 0 ? [v.videoWidth, v.videoHeight, v.duration] : null"
        )
        return self.wait(lambda: self.driver.execute_script(script))


def test_a_user_uploads_runs_and_corrects_errors_in_a_browser(browser, tmp_path):
    tab = Tab(browser)
    tab.run("The video is missing")
    tab.upload(write_video(tmp_path / "mine.mp4", (1, 0), size=(120, 160)))
    tab.enter_names("owl|bird, fox")
    tab.run("owl, fox sounded")
    assert tab.painted() == [160, 120, pytest.approx(2, abs=0.1)]
    assert "owl" in tab.text("#table")
    assert "mine.json" in tab.text("#files").replace("\n", "")
    tab.enter_names(" ")
    tab.run("has no name")
    tab.enter_names("drum")
    tab.run("drum sounded")
    (tmp_path / "broken.mp4").write_bytes(b"?" * 99)
    tab.remove()
    tab.upload(tmp_path / "broken.mp4")
    tab.run("not a readable video file")
    (tmp_path / "large.mp4").write_bytes(b"?" * 2_000_000)
    tab.remove()
    tab.choose(tmp_path / "large.mp4")
    tab.wait(lambda: "exceed the maximum allowed size" in tab.text("body"))
    script = "return performance.getEntriesByType('resource').map(entry => entry.name)"
    external = [name for name in browser.execute_script(script) if "://127.0.0.1" not in name]
    assert [name for name in external if not name.startswith(("blob:", "data:"))] == []


def test_simultaneous_requests_are_queued_and_get_their_own_results(browser, page, tmp_path):
    write, running, counts = page.segmenter.write, [], []

    def write_slowly(*args, **options):
        running.append(1)
        counts.append(len(running))
        time.sleep(2)
        written = write(*args, **options)
        running.pop()
        return written

    page.segmenter.write = write_slowly
    tabs = {name: Tab(browser) for name in ("owl", "fox", "drum")}
    for name, tab in tabs.items():
        browser.switch_to.window(tab.window)
        tab.upload(write_video(tmp_path / f"{name}.mp4", (1, 0), size=(64, 64)))
        tab.enter_names(name)
    for tab in tabs.values():
        tab.press()
    for name, tab in tabs.items():
        tab.expect(f"{name} sounded")
        assert f"{name}.json" in tab.text("#files").replace("\n", "")
    assert counts == [1, 1, 1]


def test_it_listens_on_loopback_only(page, monkeypatch):
    bound, bind = [], socket.socket.bind
    monkeypatch.setattr(
        socket.socket, "bind", lambda self, address: bound.append(address) or bind(self, address)
    )
    blocks, url = app.launch(page, host="127.0.0.1", port=None)
    blocks.close()
    assert url.startswith("http://127.0.0.1:")
    assert {address[0] for address in bound if isinstance(address, tuple)} <= {"127.0.0.1", ""}
