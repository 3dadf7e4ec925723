"""Find an exported model: in a folder, in an archive, or on the model hub."""

import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from ovavss_d2.errors import one_line
from ovavss_d2.exported import CLIP_FILE, CONFIG_FILE, HUB_NAME, MODEL_FILE, MODEL_INFO
from ovavss_d2.weights.download import DownloadError, cached_path, download, is_address

FILES = (MODEL_FILE, CONFIG_FILE, MODEL_INFO, CLIP_FILE)
MAX_RATIO = 10  # of the content of an archive to its size: weights hardly shrink
MAX_EMPTY = 1 << 20  # bytes that need no weights: the config and the vocabularies
ARCHIVE_ERRORS = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError,
    NotImplementedError, RuntimeError,
)  # fmt: skip


@contextmanager
def model_folder(source: str | os.PathLike) -> Iterator[Path]:
    """The folder of an exported model; that of an archive exists only within the block.

    Args:
        source: a folder, a .zip or .tar archive, the https:// address of an archive, or
            "user/name" on the model hub (huggingface.co).

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: the archive is damaged, or holds no model.
        OSError: the download failed.
    """
    source = os.fspath(source)
    if is_address(source):
        source = str(download(source, cached_path(source)))
    if os.path.isdir(source):
        yield Path(source)
    elif os.path.isfile(source):
        with tempfile.TemporaryDirectory(prefix="ovavss-") as folder:
            _extract(source, Path(folder))
            yield Path(folder)
    elif HUB_NAME.fullmatch(source):
        yield _from_hub(source)
    else:
        raise FileNotFoundError(
            f"no model '{source}', expected a folder or an archive of tools/export_model.py, or "
            "user/name on the model hub"
        )


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(name, allow_patterns=list(FILES)))
    except (OSError, HfHubHTTPError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DownloadError(
            f"'{name}' is not a folder, and cannot be downloaded from the model hub: {reason}"
        ) from error


def _extract(archive: str, folder: Path) -> None:
    """Write the files of a model, and no others, to a folder."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                _check_total(archive, sum(item.file_size for item in opened.infolist()))
                for item in opened.infolist():
                    _write(opened.open(item), item.filename, folder)
        else:
            total = 0
            with tarfile.open(archive) as opened_tar:
                for member in opened_tar:
                    total += member.size
                    _check_total(archive, total)
                    if member.isfile():
                        file = opened_tar.extractfile(member)
                        assert file is not None  # it is a regular file
                        _write(file, member.name, folder)
    except ARCHIVE_ERRORS as error:
        raise ValueError(f"'{archive}' is not a readable archive: {one_line(error)}") from error


def _check_total(archive: str, size: int) -> None:
    """Raise a ValueError if the content of an archive is far larger than the archive."""
    if size > MAX_RATIO * os.path.getsize(archive) + MAX_EMPTY:
        raise ValueError(f"'{archive}' holds {size} bytes, far more than its own size")


def _write(file: IO[bytes], name: str, folder: Path) -> None:
    """Copy a file of an archive if it belongs to a model: at the top, or one folder below."""
    path = PurePosixPath(name)
    if path.name not in FILES or len(path.parts) > 2:
        return
    with file, open(folder / path.name, "wb") as target:
        shutil.copyfileobj(file, target)
