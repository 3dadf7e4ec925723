"""Find an exported model: in a folder, in an archive, or on the model hub."""

import os
import re
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from ovavss_d2.exported import CLIP_FILE, CONFIG_FILE, MODEL_FILE, MODEL_INFO
from ovavss_d2.weights.download import DownloadError, cached_path, download, is_address

FILES = (MODEL_FILE, CONFIG_FILE, MODEL_INFO, CLIP_FILE)
MAX_RATIO = 10  # of the content of an archive to its size: weights hardly shrink
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


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
    elif _HUB_NAME.fullmatch(source):
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
                for item in opened.infolist():
                    _write(opened.open(item), item.filename, item.file_size, archive, folder)
        else:
            with tarfile.open(archive) as opened_tar:
                for member in opened_tar:
                    if member.isfile():
                        file = opened_tar.extractfile(member)
                        assert file is not None  # it is a regular file
                        _write(file, member.name, member.size, archive, folder)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"'{archive}' is not a readable archive: {reason}") from error


def _write(file: IO[bytes], name: str, size: int, archive: str, folder: Path) -> None:
    """Copy a file of an archive if it belongs to a model: at the top, or one folder below."""
    path = PurePosixPath(name)
    if path.name not in FILES or len(path.parts) > 2:
        return
    if size > MAX_RATIO * os.path.getsize(archive):
        raise ValueError(f"'{archive}' holds a file that is far larger than the archive")
    with file, open(folder / path.name, "wb") as target:
        shutil.copyfileobj(file, target)
