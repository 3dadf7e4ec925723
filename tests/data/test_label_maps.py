import numpy as np
import pytest
from PIL import Image

from ovavss_d2.data.label_maps import labels_from_colors, read_labels, write_label_map
from ovavss_d2.vocabulary import voc_palette


def test_colors_and_ids_are_inverse():
    ids = np.arange(71, dtype=np.uint8).reshape(1, 71)
    labels, unknown = labels_from_colors(voc_palette(71)[ids], 71)
    assert (labels == ids).all() and unknown == 0


def test_unknown_colors_are_counted_and_become_background():
    colors = np.array([[[128, 0, 0], [1, 2, 3], [224, 224, 192]]], np.uint8)
    labels, unknown = labels_from_colors(colors, 71)
    assert labels.tolist() == [[1, 0, 0]] and unknown == 2


def test_written_palette_images_read_like_rgb_images(tmp_path):
    ids = np.arange(6, dtype=np.uint8).reshape(2, 3)
    write_label_map(tmp_path / "a.png", ids, voc_palette(256))
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "P"
    assert (read_labels(tmp_path / "a.png", 71)[0] == ids).all()


def test_broken_and_missing_label_images_give_one_line(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"0" * 50)
    with pytest.raises(ValueError, match="a.png': damaged label image") as error:
        read_labels(tmp_path / "a.png", 71)
    assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match="b.png': no such label image"):
        read_labels(tmp_path / "b.png", 71)
