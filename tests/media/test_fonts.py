"""Names in any script are drawn with a font that has their characters, or as numbers."""

import warnings

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from ovavss_d2.evaluation.charts import write_charts
from ovavss_d2.inference.contact_sheet import draw_bars
from ovavss_d2.inference.painter import Painter
from ovavss_d2.inference.results import Segment, Span
from ovavss_d2.media import fonts
from ovavss_d2.media.drawing import text_box

DOG, CAT, WHISTLE = "犬", "猫", "सीटी"


def write_font(path, text):
    """A font whose characters are bars, each of another height."""
    builder = FontBuilder(1000, isTTF=True)
    names = {ord(char): f"g{ord(char)}" for char in sorted(set(text))}
    glyphs = {name: bar(200 + 100 * i) for i, name in enumerate([".notdef", *names.values()])}
    builder.setupGlyphOrder(list(glyphs))
    builder.setupCharacterMap(names)
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics({name: (600, 0) for name in glyphs})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(str(path))


def bar(height):
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for point in ((0, height), (500, height), (500, 0)):
        pen.lineTo(point)
    pen.closePath()
    return pen.glyph()


@pytest.fixture(autouse=True)
def installed(tmp_path, monkeypatch):
    """The installed fonts: a list that is empty at first."""
    files = []
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(file) for file in files])
    cached = [f for f in (*vars(fonts).values(), text_box) if hasattr(f, "cache_clear")]
    for function in cached:
        function.cache_clear()
    yield files
    for function in cached:
        function.cache_clear()


def install(installed, path, text):
    write_font(path, text)
    installed.append(path)


def test_an_installed_font_draws_what_the_default_font_does_not_have(tmp_path, installed):
    install(installed, tmp_path / "Other-Regular.ttf", "abc")
    install(installed, tmp_path / "Chinese-Regular.ttf", DOG + CAT)
    install(installed, tmp_path / "Hindi-Bold.ttf", WHISTLE)
    (tmp_path / "broken.ttf").write_bytes(b"?")
    installed.append(tmp_path / "broken.ttf")
    runs = fonts.split_runs(f"{DOG} cat {WHISTLE} 0.93")
    chinese, hindi = str(tmp_path / "Chinese-Regular.ttf"), str(tmp_path / "Hindi-Bold.ttf")
    default = fonts.DEFAULT_FONT
    assert runs == [(DOG, chinese), (" cat ", default), (WHISTLE, hindi), (" 0.93", default)]
    boxes = [text_box(f"{name} 0.93", 30) for name in (DOG, CAT, "cat")]
    assert boxes[0].shape == boxes[1].shape != boxes[2].shape
    assert (boxes[0] != boxes[1]).any()
    names = [DOG, CAT, WHISTLE, "café", "привет"]
    assert fonts.drawable_names(names) == {name: name for name in names}


@pytest.mark.parametrize("text", ["cat 0.93", "Ärger", "привет", "مطر", "→", "", "e\u0301"])
def test_the_default_font_draws_everything_that_it_has(text):
    assert fonts.split_runs(text) == [(text, fonts.DEFAULT_FONT)]


def test_names_that_no_font_has_are_numbered_with_one_warning(installed, caplog):
    names = ["cat", DOG, WHISTLE]
    drawn = {"cat": "cat", DOG: "class 2", WHISTLE: "class 3"}
    for _ in range(2):
        assert fonts.drawable_names(names) == drawn
    (message,) = caplog.messages
    assert f"2 names: '{DOG}' is drawn as 'class 2', '{WHISTLE}' is drawn as 'class 3'" in message


@pytest.mark.parametrize("known", [False, True])
def test_painted_frames_and_contact_sheets_tell_names_apart(tmp_path, installed, known):
    if known:
        install(installed, tmp_path / "Chinese-Regular.ttf", DOG + CAT)
    frame, mask = np.zeros((300, 400, 3), np.uint8), np.ones((300, 400), bool)
    painter = Painter([DOG, CAT])
    # In the color of the other name, only the text differs.
    painter.colors = dict.fromkeys([DOG, CAT], (255, 255, 255))
    painted = [painter.paint(frame, [Segment(name, 0.5, mask)]) for name in (DOG, CAT)]
    assert (painted[0][100:] != painted[1][100:]).any()
    colors = dict.fromkeys([DOG, CAT], (0, 0, 0))
    bars = [draw_bars([Span(name, 0, 1, 0.5)], 1.0, 300, colors) for name in (DOG, CAT)]
    assert (bars[0] != bars[1]).any()


@pytest.mark.parametrize("known", [False, True])
def test_charts_have_no_missing_characters(tmp_path, installed, known):
    if known:
        install(installed, tmp_path / "Chinese-Regular.ttf", DOG + CAT)
    rows = [
        {"id": i, "name": name, "group": group, "iou": 50.0, "frames": 3}
        for i, (name, group) in enumerate(
            [("background", "background"), (DOG, "base"), (CAT, "novel")]
        )
    ]
    means = {"base": 50.0, "novel": 50.0}
    results = {"dataset": "d", "protocol_name": "p", "per_class": rows, "avsbench_ov": means}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns about missing characters
        write_charts(np.full((3, 3), 5), results, tmp_path)
    assert (tmp_path / "per_class.png").stat().st_size > 0
