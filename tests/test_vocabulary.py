"""Names, base and novel classes, the palette, and reading of vocabularies."""

import numpy as np
import pytest

from ovavss_d2.vocabulary import (
    AVSBENCH_BASE_IDS,
    AVSBENCH_NAMES,
    TOY_BASE_IDS,
    TOY_COLORS,
    TOY_NAMES,
    TOY_SHAPES,
    display_name,
    novel_ids,
    parse_vocabulary,
    synonyms_of,
    voc_palette,
)


def test_avsbench_has_40_base_and_30_novel_of_70_names():
    assert len(set(AVSBENCH_NAMES)) == 70
    assert list(AVSBENCH_NAMES) == sorted(AVSBENCH_NAMES)
    assert len(set(AVSBENCH_BASE_IDS)) == 40
    assert len(novel_ids(AVSBENCH_NAMES, AVSBENCH_BASE_IDS)) == 30
    assert AVSBENCH_NAMES[AVSBENCH_BASE_IDS[0] - 1] == "airplane"
    assert AVSBENCH_NAMES[AVSBENCH_BASE_IDS[-1] - 1] == "woman"


def test_toy_has_every_shape_and_color_among_base_names():
    novel = [TOY_NAMES[i - 1] for i in novel_ids(TOY_NAMES, TOY_BASE_IDS)]
    base = [TOY_NAMES[i - 1] for i in TOY_BASE_IDS]
    assert (len(base), len(novel)) == (20, 10)
    for shape in TOY_SHAPES:
        assert any(shape in name for name in base)
        assert sum(name.endswith(shape) for name in novel) == 2
    for color in TOY_COLORS:
        assert any(color in name for name in base)
        assert sum(name.startswith(color) for name in novel) in (1, 2)


def test_palette_is_pascal_vocs():
    palette = voc_palette(256)
    known = {0: (0, 0, 0), 1: (128, 0, 0), 15: (192, 128, 128), 20: (0, 64, 128)}
    known[255] = (224, 224, 192)
    for index, color in known.items():
        assert tuple(palette[index]) == color
    assert len(np.unique(palette, axis=0)) == 256
    assert (voc_palette(71) == palette[:71]).all()


@pytest.mark.parametrize("n", [0, 257])
def test_palette_of_no_or_too_many_colors_is_an_error(n):
    with pytest.raises(ValueError, match=f"{n} colors requested"):
        voc_palette(n)


@pytest.mark.parametrize(
    "text",
    [
        "red circle,blue square",
        "red  circle\nblue square\n",
        "# two\nred circle # a\n\nblue square,",
    ],
)
def test_vocabulary_forms_mean_the_same(text, tmp_path):
    file = tmp_path / "names.txt"
    file.write_text(text)
    expected = ("red circle", "blue square")
    assert parse_vocabulary(text) == parse_vocabulary(str(file)) == expected
    assert parse_vocabulary([*expected, "red circle"]) == expected


def test_presets():
    assert parse_vocabulary("toy") == TOY_NAMES
    assert parse_vocabulary("avsbench") == AVSBENCH_NAMES
    everyday = parse_vocabulary("everyday")
    assert 200 <= len(everyday) <= 255  # an indexed PNG holds them
    assert "car|automobile" in everyday


def test_synonyms_are_one_class_named_by_the_first():
    names = parse_vocabulary(" car | automobile|car , |dog| ,cat")
    assert names == ("car|automobile", "dog", "cat")
    assert synonyms_of(names[0]) == ("car", "automobile")
    assert [display_name(name) for name in names] == ["car", "dog", "cat"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("car|auto,auto", "has 'auto' in two classes"),
        ("names.txt", "no such file"),
        ("folder/names", "no such file"),
        ("/nowhere/names.txt", "no such file"),
        ("", "has no names"),
        (" , ,\n", "has no names"),
        ("# nothing", "has no names"),
        ([], "has no names"),
    ],
)
def test_wrong_vocabularies_are_refused_in_one_line(source, message):
    with pytest.raises(ValueError, match=message) as error:
        parse_vocabulary(source)
    assert "\n" not in str(error.value).replace(str(source), "")


def test_a_binary_vocabulary_file_is_refused(tmp_path):
    file = tmp_path / "names.bin"
    file.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ValueError, match="not a UTF-8 text file"):
        parse_vocabulary(str(file))
