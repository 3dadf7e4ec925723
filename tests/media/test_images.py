"""Image files: all modes become 8-bit RGB, only listed formats are decoded."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from PIL import Image

from ovavss_d2.data.avsbench import frame_size
from ovavss_d2.data.label_maps import read_labels
from ovavss_d2.evaluation.saved_predictions import read_label_map
from ovavss_d2.media.images import read_image
from tests.helpers.paths import FIXTURES

# starts Ghostscript in Pillow's decoder, whatever the file's name
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
RAMP = np.tile(np.linspace(0, 255, 64).round().astype(np.uint8), (16, 1))
DEEP = RAMP.astype(np.uint16) * 257  # 16 bits


def difference(path, expected=RAMP):
    """Largest difference of an image to gray values (H, W)."""
    return np.abs(read_image(path).astype(int) - expected[..., None].astype(int)).max()


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("16-bit.png", DEEP),
        ("16-bit.tif", DEEP),
        ("16-bit big-endian.tif", DEEP.astype(">u2")),
        ("32-bit of 8-bit range.tif", RAMP.astype(np.int32)),
        ("32-bit of 16-bit range.tif", DEEP.astype(np.int32)),
        ("real 0 to 1.tif", (RAMP / 255).astype(np.float32)),
        ("real 0 to 255.tif", RAMP.astype(np.float32)),
        ("real 0 to 65535.tif", DEEP.astype(np.float32)),
    ],
)
def test_gray_of_more_than_8_bits_keeps_its_brightness(tmp_path, name, pixels):
    Image.fromarray(pixels).save(tmp_path / name)
    assert difference(tmp_path / name) == 0


@pytest.mark.parametrize("mode", ["L", "LA", "P", "PA", "1", "RGB", "RGBA", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    image = Image.fromarray(RAMP).convert(mode)
    expected = np.array(image.convert("L")) if mode == "1" else RAMP
    image.save(tmp_path / "a.tif")
    assert difference(tmp_path / "a.tif", expected) <= 1


def test_16_bit_color_keeps_its_brightness(tmp_path):
    cv2 = pytest.importorskip("cv2")
    for name in ("a.png", "a.tif"):
        cv2.imwrite(str(tmp_path / name), np.stack([DEEP] * 3, axis=-1))
        assert difference(tmp_path / name) == 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("transparency", [0, bytes(range(256))])
def test_transparency_of_a_palette_is_ignored(tmp_path, transparency):
    Image.fromarray(RAMP).convert("P").save(tmp_path / "a.png", transparency=transparency)
    assert difference(tmp_path / "a.png") == 0


def test_gray_values_without_a_known_range_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), -1, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"its gray values are -1\.0 to -1\.0, expected 0 to"):
        read_image(tmp_path / "a.tif")


def test_avif_and_heic_are_read(tmp_path):
    image = np.repeat(RAMP.repeat(4, axis=0)[..., None], 3, axis=2)
    Image.fromarray(image).save(tmp_path / "a.avif", quality=95)
    assert difference(tmp_path / "a.avif", image[..., 0]) < 8
    pytest.importorskip("pi_heif")
    assert difference(FIXTURES / "ramp.heic", image[..., 0]) < 8  # the same image


READERS = [
    read_image,
    frame_size,
    lambda path: read_labels(path, 9),
    lambda p: read_label_map(p, 9),
]


@pytest.mark.parametrize("read", READERS)
def test_a_fifo_a_huge_and_a_damaged_image_give_one_line(tmp_path, read):
    os.mkfifo(tmp_path / "pipe.png")
    Image.fromarray(RAMP).save(tmp_path / "cut.png")
    cut = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(cut[: len(cut) // 2])
    Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    for name, message in {
        "pipe": "not a regular file", "cut": "damaged", "huge": "too large", "none": "no such",
    }.items():  # fmt: skip
        with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
            read(tmp_path / f"{name}.png")
        assert "\n" not in str(error.value)


def test_no_image_starts_a_program(tmp_path):
    """Pillow decodes EPS with Ghostscript."""
    (tmp_path / "a.png").write_bytes(EPS)
    code = """
        import sys

        import tests.media.test_images as test

        started = []
        sys.addaudithook(lambda event, _: started.append(event == "subprocess.Popen"))
        for read in test.READERS:
            try:
                read(sys.argv[1])
            except ValueError as error:
                assert "not a readable" in str(error), error
            else:
                raise AssertionError("it was decoded")
        assert not any(started)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "a.png")]
    subprocess.run(command, check=True)


def test_frames_have_the_size_that_they_are_read_with(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RAMP).save(tmp_path / "a.jpg", exif=exif)
    assert frame_size(tmp_path / "a.jpg") == read_image(tmp_path / "a.jpg").shape[1::-1] == (16, 64)
