"""Unpacking the package of the stamps data set."""

import hashlib
import shutil
import zipfile

import pytest

from ovavss_d2.stamps import package
from ovavss_d2.stamps.objects import OBJECTS
from tests.helpers.stamps_package import STAMPS, as_deb, as_tar, write_package


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """A package as a folder, to be read only."""
    return write_package(tmp_path_factory.mktemp("package"))


@pytest.fixture(autouse=True)
def sums(unpacked, monkeypatch):
    """The sum of the small package's files in place of the real one's."""
    monkeypatch.setattr(package, "FILES_SUM", package.files_sum(unpacked / STAMPS))


def files_below(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


EXPECTED = {path for item in OBJECTS for path in (item.picture, item.sound) if path}


def archives(unpacked, folder, monkeypatch):
    """The package in each form."""
    (folder / "stamps.deb").write_bytes(as_deb(as_tar(unpacked)))
    deb_sum = hashlib.sha256((folder / "stamps.deb").read_bytes()).hexdigest()
    monkeypatch.setattr(package, "DEB_SUM", deb_sum)
    (folder / "stamps.tar.gz").write_bytes(as_tar(unpacked, "w:gz"))
    with zipfile.ZipFile(folder / "stamps.zip", "w") as archive:
        for path in unpacked.rglob("*"):
            archive.write(path, "tuxpaint-stamps-2022/" + path.relative_to(unpacked).as_posix())
    return [*folder.iterdir(), unpacked, unpacked / STAMPS]


def test_every_form_of_the_package_gives_the_same_files(unpacked, tmp_path, monkeypatch):
    (tmp_path / "forms").mkdir()
    for number, form in enumerate(archives(unpacked, tmp_path / "forms", monkeypatch)):
        target = package.unpack(form, tmp_path / "out" / str(number))
        found = files_below(target)
        assert {name for name in found if not name.startswith("licenses/")} == EXPECTED
        assert "licenses/SOURCE.txt" in found
        assert (target / "licenses" / "copyright").exists() == (form != unpacked / STAMPS)
    assert {p.name for p in tmp_path.iterdir()} == {"forms", "out"}


def test_an_archive_cannot_fill_the_disk_with_licenses(unpacked, tmp_path):
    folder = shutil.copytree(unpacked, tmp_path / "package")
    for number in range(2 * package.MAX_LICENSES):
        (folder / f"README{number}").write_text("text")
    target = package.unpack(folder, tmp_path / "target")
    found = {name for name in files_below(target) if name != "licenses/SOURCE.txt"}
    assert found >= EXPECTED and len(found - EXPECTED) == package.MAX_LICENSES


def test_an_unpacked_package_is_kept(tmp_path):
    (tmp_path / "target").mkdir()
    assert package.unpack("missing", tmp_path / "target") == tmp_path / "target"


def test_another_version_a_broken_archive_and_a_missing_file_are_one_line_errors(
    unpacked, tmp_path, monkeypatch
):
    (tmp_path / "a.deb").write_bytes(as_deb(as_tar(unpacked)))
    with pytest.raises(ValueError, match="SHA-256 .*, expected 6db6.*--package"):
        package.unpack(tmp_path / "a.deb", tmp_path / "out")
    (tmp_path / "a.tar.gz").write_bytes(as_tar(unpacked, "w:gz")[:5000])
    with pytest.raises(ValueError, match="broken archive .*--package"):
        package.unpack(tmp_path / "a.tar.gz", tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="no such file or folder; download .*--package"):
        package.unpack(tmp_path / "none.deb", tmp_path / "out")
    changed = tmp_path / "changed"
    shutil.copytree(unpacked, changed)
    picture = changed / STAMPS / OBJECTS[0].picture
    picture.write_bytes(picture.read_bytes() + b"x")
    with pytest.raises(ValueError, match="files are not those of version"):
        package.unpack(changed, tmp_path / "out")
    picture.unlink()
    with pytest.raises(ValueError, match="1 files are missing, such as"):
        package.unpack(changed, tmp_path / "out")
    picture.write_bytes(b"x" * 100)
    monkeypatch.setattr(package, "MAX_FILE_BYTES", 99)
    with pytest.raises(ValueError, match="too many"):
        package.unpack(changed, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_apt_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(package.shutil, "which", lambda name: None)
    with pytest.raises(FileNotFoundError, match="no apt-get to download the package; .*--package"):
        package.unpack(None, tmp_path / "out")


def test_a_failed_download_says_why(tmp_path, monkeypatch):
    (tmp_path / "apt-get").write_text("#!/bin/sh\necho 'E: Version not found' >&2\nexit 100\n")
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(ValueError, match="failed .E: Version not found.; .*--package"):
        package.unpack(None, tmp_path / "out")
