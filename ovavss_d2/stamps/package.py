"""The package "tuxpaint-stamps": get it, check it, and unpack the files that are used.

Nothing else is unpacked, and no path of an archive is used: the files' names are those of
`objects.csv`. Their contents have one checksum, whatever they come from.
"""

import hashlib
import lzma
import re
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from ovavss_d2.files import atomic_folder, hidden_folder
from ovavss_d2.stamps.objects import OBJECTS

NAME, VERSION = "tuxpaint-stamps-default", "2022.06.04-1"
DEB_SUM = "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"  # SHA-256
FILES_SUM = (
    "e03700d78c635fb3f74f5291040af91f382ed2edcb237600c13258597c517dab"  # SHA-256, see `files_sum`
)
MAX_FILE_BYTES = 2**24
MAX_LICENSES = 20  # files; their contents are not checked
LICENSES = "licenses"  # folder beside the files
_LICENSE = re.compile(r"(copyright|changelog|copying|credits|authors|readme)[\w.-]*", re.IGNORECASE)
_GET_IT = (
    f"download '{NAME}' {VERSION} from packages.debian.org and give its path with --package "
    "(a .deb, the upstream archive or an unpacked folder)"
)

_NOTICE = f"""The pictures and sounds are from tuxpaint-stamps (package {NAME} {VERSION}).
Copyright 2002-2022 by Bill Kendrick and the contributors of Tux Paint, GPL-2; see
https://tuxpaint.org. The clips and videos that are made from them are under the same license.

Files that are used:
""" + "".join(f"{path}\n" for item in OBJECTS for path in (item.picture, item.sound) if path)


def unpack(package: str | Path | None, target: Path) -> Path:
    """Unpack the pictures, sounds and licenses that are used, unless `target` exists.

    Args:
        package: a .deb, an archive (.tar.*, .zip) or a folder; None: download it with APT.
        target: the folder to write.

    Returns:
        `target`; pictures and sounds have the paths of `objects.csv` in it.

    Raises:
        FileNotFoundError: there is no such package, or no APT.
        ValueError: it is not this version of the package, or broken.
    """
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    if package is None:
        with hidden_folder(target.parent) as folder:
            _write(_download(folder), target)
    elif not Path(package).exists():
        raise FileNotFoundError(f"'{package}': no such file or folder; {_GET_IT}")
    else:
        _write(Path(package), target)
    return target


def files_sum(folder: Path) -> str:
    """SHA-256 of the contents of all pictures and sounds, in the order of their paths."""
    digest = hashlib.sha256()
    for name in sorted(_needed()):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def _needed() -> set[str]:
    return {path for item in OBJECTS for path in (item.picture, item.sound) if path}


def _download(folder: Path) -> Path:
    """Download the .deb to a folder."""
    if shutil.which("apt-get") is None:
        raise FileNotFoundError(f"there is no apt-get to download the package; {_GET_IT}")
    command = ["apt-get", "download", f"{NAME}={VERSION}"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    files = list(folder.glob("*.deb"))
    if result.returncode or not files:
        reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ValueError(f"'{' '.join(command)}' failed ({reason}); {_GET_IT}")
    return files[0]


def _write(package: Path, target: Path) -> None:
    needed = _needed()
    found: set[str] = set()
    with atomic_folder(target) as draft:
        try:
            for name, size, file in _members(package):
                path = _path_of(name, needed)
                if path is None or path in found:
                    continue
                if path not in needed and len(found - needed) >= MAX_LICENSES:
                    continue
                if size > MAX_FILE_BYTES:
                    raise ValueError(f"'{package}': '{name}' has {size} bytes, too many; {_GET_IT}")
                found.add(path)
                (draft / path).parent.mkdir(parents=True, exist_ok=True)
                (draft / path).write_bytes(file.read(MAX_FILE_BYTES))
        except (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, EOFError) as error:
            raise ValueError(f"'{package}': a broken archive ({error}); {_GET_IT}") from error
        (draft / LICENSES).mkdir(exist_ok=True)
        (draft / LICENSES / "SOURCE.txt").write_text(_NOTICE)
        missing = sorted(needed - found)
        if missing:
            count = f"{len(missing)} files are missing, such as '{missing[0]}'"
            raise ValueError(f"'{package}': {count}; {_GET_IT}")
        if files_sum(draft) != FILES_SUM:
            raise ValueError(
                f"'{package}': the files are not those of version {VERSION}; {_GET_IT}"
            )


def _path_of(name: str, needed: set[str]) -> str | None:
    """The path that a file gets, or None if it is not used."""
    path = re.sub(r"^.*(?:^|/)stamps/", "", name)
    if path in needed:
        return path
    *folders, last = name.split("/")
    is_license = "stamps" not in folders and _LICENSE.fullmatch(last)
    return f"{LICENSES}/{last}" if is_license else None


def _members(package: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Yield the name, size and content of each file of a package."""
    if package.is_dir():
        for path in sorted(package.rglob("*")):
            if path.is_file():
                with open(path, "rb") as file:
                    yield path.relative_to(package).as_posix(), path.stat().st_size, file
    elif zipfile.is_zipfile(package):
        with zipfile.ZipFile(package) as archive:
            for info in archive.infolist():
                with archive.open(info) as member:
                    yield info.filename, info.file_size, member
    else:
        with _open_tar(package) as tar:
            for entry in tar:
                content = tar.extractfile(entry) if entry.isfile() else None
                if content is not None:
                    yield entry.name, entry.size, content


@contextmanager
def _open_tar(package: Path) -> Iterator[tarfile.TarFile]:
    with open(package, "rb") as file:
        if file.read(8) == b"!<arch>\n":
            _check_deb(package)
            _seek_data(file, package)
        else:
            file.seek(0)
        with tarfile.open(fileobj=file, mode="r|*") as archive:
            yield archive


def _check_deb(package: Path) -> None:
    with open(package, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != DEB_SUM:
        raise ValueError(f"'{package}': SHA-256 {found}, expected {DEB_SUM}; {_GET_IT}")


def _seek_data(file: BinaryIO, package: Path) -> None:
    """Move to the content of the member `data.tar...` of a .deb, an archive of `ar`."""
    while len(header := file.read(60)) == 60 and header[48:58].strip().isdigit():
        if header.startswith(b"data.tar"):
            return
        size = int(header[48:58])
        file.seek(size + size % 2, 1)
    raise ValueError(f"'{package}': a .deb without files; {_GET_IT}")
