"""Downloads end complete and checked under their final names, or with one line."""

import errno
import hashlib
import io
import multiprocessing
import time
from pathlib import Path

import pytest

from ovavss_d2.weights import download as module
from ovavss_d2.weights.download import DownloadError, cached_path, download
from tests.helpers.file_server import FileServer, serve

CONTENT = bytes(range(256)) * 400  # 100 kB
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SUMS = {"sha256": SHA256}


@pytest.fixture(autouse=True)
def online(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(module, "FIRST_WAIT", 0)
    with serve(CONTENT) as running:
        yield running


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "cache" / "file.bin"


def left(target: Path) -> list[str]:
    """Files next to the target, without the lock."""
    return sorted(p.name for p in target.parent.iterdir() if not p.name.endswith(".lock"))


def test_a_file_is_downloaded_once(server, target):
    for _ in range(2):
        assert download(f"{server.address}/f", target, sums=SUMS).read_bytes() == CONTENT
    assert len(server.requests) == 1 and left(target) == ["file.bin"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_connection_that_ends_early_is_continued(server, target, ranges):
    server.cut, server.ranges = [30_000, 20_000], ranges
    assert download(f"{server.address}/f", target, sums=SUMS).read_bytes() == CONTENT
    asked = [asked for _, asked in server.requests]
    assert asked == (["", "bytes=30000-", "bytes=50000-"] if ranges else asked)


def test_a_file_that_is_always_truncated_is_one_line_and_continued_later(server, target):
    server.cut = [1000] * module.TRIES
    with pytest.raises(DownloadError, match="ended after 5000 of 102400 bytes.* put it there"):
        download(f"{server.address}/f", target)
    assert not target.exists()
    assert download(f"{server.address}/f", target).read_bytes() == CONTENT
    assert server.requests[-1][1] == "bytes=5000-"


def test_parts_of_two_versions_are_never_mixed(server, target):
    server.cut = [1000] * module.TRIES
    with pytest.raises(DownloadError):
        download(f"{server.address}/f", target)
    server.content = CONTENT[::-1]
    assert download(f"{server.address}/f", target).read_bytes() == CONTENT[::-1]


def test_a_complete_part_needs_no_more_bytes(server, target):
    target.parent.mkdir()
    part = target.with_name(".file.bin.part")
    part.write_bytes(CONTENT)
    part.with_name(".file.bin.part.version").write_text(server.version)
    assert download(f"{server.address}/f", target, sums=SUMS).read_bytes() == CONTENT
    assert left(target) == ["file.bin"]


@pytest.mark.parametrize("name", ["sha256", "md5"])
def test_a_wrong_sum_is_one_line_and_leaves_nothing(server, target, name):
    with pytest.raises(DownloadError, match=f"has the {name} sum .*expected 0123"):
        download(f"{server.address}/f", target, sums={name: "0123"})
    assert left(target) == []


def test_the_first_digits_of_a_sum_suffice(server, target):
    md5 = hashlib.md5(CONTENT).hexdigest()
    download(f"{server.address}/f", target, sums={"sha256": SHA256[:8], "md5": md5[:6]})


def test_404_is_one_line_without_retries(server, target):
    server.codes = [404]
    with pytest.raises(DownloadError, match="the server answers 404"):
        download(f"{server.address}/f", target)
    assert len(server.requests) == 1


def test_a_busy_server_is_asked_again(server, target):
    server.codes = [503, 429]
    assert download(f"{server.address}/f", target).read_bytes() == CONTENT


def test_a_slow_server_is_waited_for(server, target):
    server.pause = 0.005
    assert download(f"{server.address}/f", target).read_bytes() == CONTENT


def test_redirects_are_followed_but_not_to_other_protocols(server, target):
    server.redirect = {"/old": "/new", "/file": "file:///etc/passwd", "/ftp": "ftp://127.0.0.1/x"}
    assert download(f"{server.address}/old", target).read_bytes() == CONTENT
    for path in "/file", "/ftp":
        with pytest.raises(DownloadError):
            download(server.address + path, target.with_name("other"))


def test_without_a_server_one_line_says_where_to_put_the_file(target, monkeypatch):
    monkeypatch.setattr(module, "FIRST_WAIT", 0)
    with pytest.raises(DownloadError, match="download http://127.0.0.1:9/f and put it there"):
        download("http://127.0.0.1:9/f", target)


def test_offline_nothing_is_asked_and_the_cache_is_used(server, target, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DownloadError, match=f"HF_HUB_OFFLINE is set and '{target}' does not exist"):
        download(f"{server.address}/f", target)
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(b"cached")
    assert download(f"{server.address}/f", target).read_bytes() == b"cached"
    assert server.requests == []


def test_a_full_disk_is_one_line_and_the_download_continues_later(server, target, monkeypatch):
    class FullDisk(io.FileIO):
        def write(self, data):
            super().write(data[:5000])
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "open", lambda path, mode: FullDisk(path, mode[0]), raising=False)
        with pytest.raises(DownloadError, match="no space left for .*set TORCH_HOME"):
            download(f"{server.address}/f", target)
    assert not target.exists()
    size = target.with_name(".file.bin.part").stat().st_size
    assert download(f"{server.address}/f", target, sums=SUMS).read_bytes() == CONTENT
    assert size > 0 and server.requests[-1][1] == f"bytes={size}-"


def test_a_file_larger_than_the_free_space_is_refused_before_it_is_read(
    server, target, monkeypatch
):
    usage = module.shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DownloadError, match="no space left"):
        download(f"{server.address}/f", target)


def test_proxy_variables_are_honored(server, target, monkeypatch):
    monkeypatch.setenv("http_proxy", server.address)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    download("http://weights.invalid/f", target)
    assert server.requests[0][0] == "http://weights.invalid/f"


def _start(server: FileServer, target: Path) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(
        target=download, args=(f"{server.address}/f", target)
    )
    process.start()
    return process


def _wait_for(condition) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("timed out")


def test_two_processes_download_once_and_a_killed_one_is_continued(target):
    with serve(CONTENT) as server:
        server.pause = 0.02  # 2 seconds
        killed = _start(server, target)
        part = target.with_name(".file.bin.part")
        _wait_for(lambda: part.is_file() and part.stat().st_size > 0)
        killed.kill()
        killed.join()
        assert not target.exists()
        both = [_start(server, target) for _ in range(2)]
        for process in both:
            process.join(60)
        assert [process.exitcode for process in both] == [0, 0]
        assert target.read_bytes() == CONTENT
        assert len(server.requests) == 2


def test_cached_files_of_different_addresses_differ(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    addresses = [
        "https://a/x.pth",
        "https://b/x.pth",
        "https://a/x.pth?v=2",
        "https://a/..%2F..%2Fx",
    ]
    paths = {cached_path(address) for address in addresses}
    assert len(paths) == 4
    assert {path.parent for path in paths} == {tmp_path / "hub" / "checkpoints"}
