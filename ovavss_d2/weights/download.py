"""Download files with a progress bar, retries, resuming, checked sums and one download at a time.

`urllib` reads the address (it honors the proxy variables), `filelock` makes other processes wait,
and `tqdm` shows the progress. None of the libraries examined does all of this: pooch restarts
interrupted downloads and does not lock, iopath checks no sum, and torch.hub neither resumes nor
retries.
"""

import contextlib
import errno
import hashlib
import http.client
import logging
import os
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from tqdm import tqdm

logger = logging.getLogger(__name__)

TRIES = 5
FIRST_WAIT = 1.0  # seconds before the second try; it doubles for each further one
TIMEOUT = 30.0  # seconds without data
CHUNK = 1 << 20
TEMPORARY = {408, 425, 429, 500, 502, 503, 504}  # HTTP codes after which it tries again
NO_NETWORK = "HF_HUB_OFFLINE"  # as for the files of the hub


class DownloadError(OSError):
    """A file could not be downloaded."""


def is_address(path: str) -> bool:
    """Whether a string is an address of the web."""
    return path.startswith(("https://", "http://"))


def cache_folder() -> Path:
    """The cache of PyTorch, which `TORCH_HOME` and `XDG_CACHE_HOME` set."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def cached_path(address: str, *, file: str = "") -> Path:
    """Where the file of an address is kept; files of other addresses never share a path.

    Args:
        address: of the web.
        file: a name that is known to be unique; empty: the address's, after its hash.
    """
    if not file:
        path = urllib.parse.unquote(urllib.parse.urlsplit(address).path)
        plain = re.sub(r"[^\w.-]", "_", path.rsplit("/", 1)[-1])[-80:] or "file"
        file = f"{hashlib.sha256(address.encode()).hexdigest()[:12]}-{plain}"
    return cache_folder() / file


def download(
    address: str, target: str | os.PathLike, *, sums: Mapping[str, str] | None = None
) -> Path:
    """Download a file unless it exists; under its final name it is complete and checked.

    An interrupted download continues in the next call, also in another process. Other processes
    that want the same file wait.

    Args:
        address: `https://...` or `http://...`
        target: path of the file.
        sums: the expected sums ("sha256", "md5"), or their first digits.

    Returns:
        `target`.

    Raises:
        DownloadError: it cannot be downloaded, or its sum differs; the message says what to do.
        OSError: it cannot be written.
    """
    target = Path(target)
    if target.is_file():
        return target
    if os.environ.get(NO_NETWORK, "").lower() in ("1", "true", "yes", "on"):
        raise DownloadError(f"{NO_NETWORK} is set and {_by_hand(address, target)}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with _lock(target):
        if not target.is_file():
            part = target.with_name(f".{target.name}.part")
            _complete(address, part, target)
            _check_sums(part, address, sums or {})
            os.replace(part, target)
            _validator_file(part).unlink(missing_ok=True)
    return target


def _by_hand(address: str, target: Path) -> str:
    return f"'{target}' does not exist: download {address} and put it there"


@contextlib.contextmanager
def _lock(target: Path) -> Iterator[None]:
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.warning("Another process downloads '%s': waiting for it.", target)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _complete(address: str, part: Path, target: Path) -> None:
    """Fetch what is missing of a file, and try again after temporary failures."""
    for attempt in range(1, TRIES + 1):
        try:
            _fetch_rest(address, part, target.name)
            return
        except urllib.error.HTTPError as error:
            reason = f"the server answers {error.code} {error.reason}"
            if error.code not in TEMPORARY:
                raise DownloadError(f"cannot download {address}: {reason}") from error
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, EOFError) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        except ConnectionError as error:
            reason = str(error)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DownloadError(
                    f"no space left for '{target}': free some, or set TORCH_HOME to another disk; "
                    "the download then continues"
                ) from error
            raise
        if attempt < TRIES:
            logger.warning("%s: %s; trying again (%d of %d)", address, reason, attempt, TRIES - 1)
            time.sleep(FIRST_WAIT * 2 ** (attempt - 1))
    raise DownloadError(f"cannot download {address} ({reason}); {_by_hand(address, target)}")


def _fetch_rest(address: str, part: Path, name: str) -> None:
    """Append the missing bytes to `part`, or start again if the file has changed.

    Raises:
        EOFError: the connection ended before the file did.
    """
    have = part.stat().st_size if part.is_file() else 0
    validator = _validator_file(part)
    headers = {"User-Agent": "ovavss_d2", "Accept-Encoding": "identity"}
    if have and validator.is_file():
        headers |= {"Range": f"bytes={have}-", "If-Range": validator.read_text()}
    try:
        response = _open(urllib.request.Request(address, headers=headers))
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        if error.headers.get("Content-Range", "").endswith(f"/{have}"):  # nothing is missing
            return
        part.unlink(missing_ok=True)
        validator.unlink(missing_ok=True)
        raise EOFError("the file has changed") from error
    with response:
        if not _continues_at(response, have):
            have = 0
        total = _total_size(response, have)
        if not have:
            _keep_validator(response, validator)
        _require_space(part, (total or 0) - have)
        with (
            open(part, "ab" if have else "wb") as file,
            tqdm(
                desc=name, total=total, initial=have, unit="B", unit_scale=True, unit_divisor=1024
            ) as bar,
        ):
            while chunk := response.read1(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
            size = file.tell()
            file.flush()
            os.fsync(file.fileno())
    if total is not None and size != total:
        raise EOFError(f"the connection ended after {size} of {total} bytes")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects stay on the web and never leave https."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        allowed = "https://" if req.full_url.startswith("https://") else ("https://", "http://")
        if not newurl.startswith(allowed):
            raise urllib.error.HTTPError(newurl, code, "redirect to another protocol", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(request: urllib.request.Request) -> http.client.HTTPResponse:
    return urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT)


def _continues_at(response: http.client.HTTPResponse, have: int) -> bool:
    start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return response.status == 206 and start is not None and int(start[1]) == have


def _total_size(response: http.client.HTTPResponse, have: int) -> int | None:
    length = response.headers.get("Content-Length", "")
    return have + int(length) if length.isdecimal() else None


def _validator_file(part: Path) -> Path:
    """The file with the version of a partial download, so that two versions are never mixed."""
    return part.with_name(f"{part.name}.version")


def _keep_validator(response: http.client.HTTPResponse, path: Path) -> None:
    tag = response.headers.get("ETag", "")
    value = response.headers.get("Last-Modified", "") if tag.startswith("W/") or not tag else tag
    if value:
        path.write_text(value)
    else:
        path.unlink(missing_ok=True)


def _require_space(part: Path, size: int) -> None:
    if size > shutil.disk_usage(part.parent).free:
        raise OSError(errno.ENOSPC, "no space left")


def _check_sums(part: Path, address: str, sums: Mapping[str, str]) -> None:
    """Raise a DownloadError, and delete the file, if a sum does not start as expected."""
    for name, expected in sums.items():
        found = file_sum(part, name)
        if not found.startswith(expected):
            part.unlink()
            _validator_file(part).unlink(missing_ok=True)
            raise DownloadError(
                f"{address} has the {name} sum {found}, expected {expected}: the file is damaged "
                "or was replaced, and has been deleted"
            )


def file_sum(path: str | os.PathLike, name: str) -> str:
    """A sum of a file ("sha256", "md5") in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, name).hexdigest()
