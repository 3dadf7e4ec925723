"""Names, base and novel classes, the palette, and reading of vocabularies."""

import json
import time

import numpy as np
import pytest

from ovavss_d2.vocabulary import (
    AVSBENCH_BASE_IDS,
    AVSBENCH_NAMES,
    TOY_BASE_IDS,
    TOY_COLORS,
    TOY_NAMES,
    TOY_SHAPES,
    check_names,
    display_name,
    format_names,
    name_key,
    novel_ids,
    parse_names,
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
        "red circle\n\nblue square,",
        '"red circle","blue square"',
        ' "red circle" , blue square ',
        '["red circle", "blue square"]',
        '\n[\n"red circle",\n"blue square"\n]',
        "red circle, Red  Circle,blue square,BLUE SQUARE, red\u200b circle",
    ],
)
def test_vocabulary_forms_mean_the_same(text, tmp_path):
    file = tmp_path / "names.txt"
    file.write_text(f"# two names\n  # or more\n{text}", encoding="utf-8")
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
        ("car|auto,AUTO", "has 'AUTO' in two classes"),
        ("names.txt", "no such file"),
        ("folder/names", "no such file"),
        ("/nowhere/names.txt", "no such file"),
        ("", "has no names"),
        (" , ,\n", "has no names"),
        ("\u200b, \xa0", "has no names"),
        ('"dog,cat', "a wrong quote or bracket"),
        ('"big" dog,cat', "a wrong quote or bracket"),
        ('["dog", "cat"', "a wrong quote or bracket"),
        ("['dog', 'cat']", "a wrong quote or bracket"),
        ("[" * 100_000, "a wrong quote or bracket"),
        ('{"names": ["dog"]}', "JSON, but not a list"),
        ('["dog", 3]', "has '3' among its names, expected text"),
        (["dog", None], "has 'None' among its names, expected text"),
        ("dog,c\x00at", r"control characters in 'c\\x00at'"),
        (["dog", "\udcff"], "control characters"),
        ("dog," + "cat " * 200, "a name of 800 characters"),
        ([], "has no names"),
    ],
)
def test_wrong_vocabularies_are_refused_in_one_line(source, message):
    with pytest.raises(ValueError, match=message) as error:
        parse_vocabulary(source)
    assert "\n" not in str(error.value).replace(str(source), "")


@pytest.mark.parametrize("text", ["names.txt", "./names.txt", "toy", "no/such/file.txt"])
def test_text_of_a_stranger_is_never_a_path(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("names.txt", "toy"):
        (tmp_path / name).write_text("secret")
    assert parse_names(text) == (TOY_NAMES if text == "toy" else (text,))
    assert parse_vocabulary("toy") == TOY_NAMES
    assert parse_vocabulary("./toy") == parse_vocabulary("names.txt") == ("secret",)


def test_number_signs_and_quoted_commas_belong_to_names(tmp_path):
    names = ("C# flute", "#1 drum", "drum, bass", 'the "big" one', "it's")
    assert parse_vocabulary('C# flute,#1 drum,"drum, bass","the ""big"" one",it\'s') == names
    file = tmp_path / "names.json"
    file.write_text(json.dumps(names))
    assert parse_vocabulary(str(file)) == names


@pytest.mark.parametrize(
    "names", [("a", 'b "c"', "d,e"), ("toy",), ('["x"', "y"), ("[laughter]", "{z"), ("car|auto",)]
)
def test_formatted_names_are_read_again(names):
    assert parse_names(format_names(names)) == names


@pytest.mark.parametrize(
    "twin", ["café", "cafe\u0301", "CAFÉ", " Café ", "ca\u00adfé", "\uff43\uff41\uff46é"]
)
def test_equal_names_are_one_class_in_the_first_spelling(twin):
    assert parse_vocabulary(["café", twin, "dog"]) == ("café", "dog")
    assert parse_vocabulary(["café|bar", f"{twin}|BAR|{twin}"]) == ("café|bar",)
    assert name_key(twin) == name_key("café") != name_key("cafe")
    with pytest.raises(ValueError, match="the data set has 'café' and '"):
        check_names(["café", "dog", twin], "the data set")


@pytest.mark.parametrize("names", [[], [""], ["dog", " "], ["dog", 3], ["dog", "x" * 999]])
def test_names_with_ids_are_checked(names):
    with pytest.raises(ValueError, match="^the data set has"):
        check_names(names, "the data set")
    check_names(AVSBENCH_NAMES, "the data set")


def test_many_names_take_linear_time():
    start = time.process_time()
    assert len(parse_names(",".join(map(str, range(40_000))))) == 40_000
    assert time.process_time() - start < 5


def test_a_binary_vocabulary_file_is_refused(tmp_path):
    file = tmp_path / "names.bin"
    file.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ValueError, match="not a UTF-8 text file"):
        parse_vocabulary(str(file))
