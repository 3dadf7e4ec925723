"""Reading images."""

import numpy as np
import pytest
from detectron2.data.detection_utils import read_image
from PIL import Image

IMAGE = np.random.RandomState(0).randint(0, 256, (11, 17, 3)).astype(np.uint8)


def test_images_are_read_in_the_requested_format(tmp_path):
    path = str(tmp_path / "image.png")
    Image.fromarray(IMAGE).save(path)
    assert np.array_equal(read_image(path), IMAGE)
    assert np.array_equal(read_image(path, "RGB"), IMAGE)
    assert np.array_equal(read_image(path, "BGR"), IMAGE[:, :, ::-1])
    assert read_image(path, "L").shape == (11, 17, 1)
    with pytest.raises(FileNotFoundError):
        read_image(path + ".missing")


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    path = tmp_path / "rotated.png"
    Image.fromarray(IMAGE).save(path, exif=exif)
    assert np.array_equal(read_image(str(path), "RGB"), np.rot90(IMAGE, -1))
