"""A small package in the layout of "tuxpaint-stamps", made from shapes and tones."""

import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
from scipy.io import wavfile

from ovavss_d2.stamps.objects import OBJECTS

DOC = "usr/share/doc/tuxpaint-stamps-default/copyright"
STAMPS = "usr/share/tuxpaint/stamps"
SECONDS = 0.7


def write_package(folder: Path) -> Path:
    """Write an unpacked package: a disk and a tone per object, each of another color and pitch."""
    stamps = folder / STAMPS
    time = np.arange(int(SECONDS * 16000)) / 16000
    for number, item in enumerate(OBJECTS, start=1):
        picture = np.zeros((40, 60, 4), np.uint8)
        color = (number % 7 * 40, number % 5 * 60, number, 255)
        cv2.ellipse(picture, (30, 20), (28, 18), 0, 0, 360, color, -1)
        path = stamps / item.picture
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture)
        if item.sound:
            tone = 0.3 * np.sin(2 * np.pi * (200 + 40 * number) * time)
            sound = stamps / item.sound
            sound.parent.mkdir(parents=True, exist_ok=True)
            with open(sound, "wb") as file:  # FFmpeg knows a format by its content
                wavfile.write(file, 16000, (tone * 32767).astype(np.int16))
    (stamps / "unused.txt").write_text("not in the list")
    (folder / DOC).parent.mkdir(parents=True)
    (folder / DOC).write_text("GPL-2")
    return folder


def as_deb(tar: bytes) -> bytes:
    """A .deb with a data archive."""
    parts = b"!<arch>\n"
    for name, content in (
        ("debian-binary", b"2.0\n"),
        ("control.tar.xz", b"odd"),
        ("data.tar.xz", tar),
    ):
        parts += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        parts += content + b"\n" * (len(content) % 2)
    return parts


def as_tar(folder: Path, mode: str = "w:xz") -> bytes:
    """A tar archive of a folder, and of a file that would be outside of it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        archive.add(folder, arcname=".")
        info = tarfile.TarInfo("../outside.txt")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"evil"))
    return buffer.getvalue()
