"""Configs with overrides, models built from them, vocabularies, and command lines."""

import contextlib
import functools
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import yaml
from hypothesis import strategies as st

from ovavss_d2 import segmenter
from ovavss_d2.config import load_config
from ovavss_d2.engine.trainer import argument_parser, read_config
from ovavss_d2.inference.painter import Painter
from ovavss_d2.inference.results import Segment
from ovavss_d2.media.source import open_source
from ovavss_d2.modeling import build_model
from ovavss_d2.vocabulary import parse_names, parse_vocabulary, synonyms_of
from tests.fuzz.case import (
    ANY,
    ODD_TEXTS,
    ODD_VALUES,
    PORT,
    REFUSED,
    Case,
    Kind,
    maybe_damaged,
    odd_json,
    to_json,
)
from tests.fuzz.media import audio_files, pictures, videos
from tests.helpers.scripts import load_script
from tests.helpers.small import small_config
from tests.helpers.stub_model import write_config
from tests.helpers.tiny_clip import ARCHITECTURE

CONFIG: dict[str, Any] = {
    "MODEL": {"DEVICE": "cpu", "MASK_FORMER": {"DEC_LAYERS": 1, "HIDDEN_DIM": 32}},
    "INPUT": {"MIN_SIZE_TEST": 48}, "SOLVER": {"BASE_LR": 0.001, "STEPS": [1, 2]}, "VERSION": 2,
}  # fmt: skip
BROKEN_CONFIGS = (
    b"- 1\n", b"1: 2\n", b"x", b"VERSION: x\n", b"_BASE_: c.yaml\n", b"MODEL: 3\n",
    b"_BASE_: [c.yaml]\n", b"_BASE_: /etc/passwd\n", b"_BASE_: http://127.0.0.1:" + PORT + b"/c\n",
    b"_BASE_: ftp://127.0.0.1/c.yaml\n", b"_BASE_: detectron2://c.yaml\n", b"a: &a [*a]\n",
    b"!!python/object/apply:os.system ['true']\n", b"[" * 5000, b"{" * 2000, b"? [1]\n: 2\n",
    b"MODEL: {DEVICE: tpu}\n", b"MODEL: {DEVICE: 1}\n", b"NO: 1\n", b"\xff\xfe", b"a: \0\n",
    b"a: &a [x,x,x,x,x,x,x,x]\n" + b"".join(
        b"%c: &%c [%s]\n" % (y, y, b",".join([b"*%c" % x] * 8))
        for x, y in zip(b"abcdefgh", b"bcdefghi", strict=True)
    ),
)  # fmt: skip
OVERRIDES = {
    "MODEL.MASK_FORMER.DEC_LAYERS": 2, "INPUT.MIN_SIZE_TEST": 64, "SEED": 3,
    "TEST.SCORE_THRESHOLD": 0.5, "SOLVER.STEPS": [5, 6], "MODEL.TIMM.NAME": "resnet18",
    "MODEL.CLASSIFIER.VOCABULARY": ["dog", "red car"], "INPUT.MIN_SIZE_TRAIN": [40, 48],
}  # fmt: skip
KEYS = (
    *OVERRIDES, "MODEL.DEVICE", "MODEL.WEIGHTS", "MODEL.PIXEL_MEAN", "MODEL.MASK_FORMER.HIDDEN_DIM",
    "MODEL.MASK_FORMER.NHEADS", "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES", "MODEL.BACKBONE.NAME",
    "MODEL.SEM_SEG_HEAD.CONVS_DIM", "MODEL.META_ARCHITECTURE", "MODEL.SEM_SEG_HEAD.NAME",
    "MODEL.SEM_SEG_HEAD.IN_FEATURES", "MODEL.AUDIO.ENCODER", "MODEL.AUDIO.PAIRING",
    "MODEL.AUDIO.DIM", "MODEL.AUDIO.WIDTH", "MODEL.CLIP.ARCHITECTURE", "MODEL.TIMM.OUT_INDICES",
    "MODEL.CLASSIFIER.NAME", "INPUT.SAMPLING_FRAME_NUM", "INPUT.FORMAT", "TEST.SCORING",
    "TEST.SILENCE_RMS", "SOLVER.IMS_PER_BATCH", "SOLVER.MAX_ITER", "SOLVER.OPTIMIZER",
    "DATALOADER.NUM_WORKERS", "DATASETS.TRAIN", "OUTPUT_DIR", "VERSION", "NO.SUCH.KEY", "MODEL",
    "MODEL.FUSION.EMBED_DIM", "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS", "MODEL.PIXEL_STD",
)  # fmt: skip


@st.composite
def overrides(draw: Callable, values: st.SearchStrategy = ODD_VALUES) -> list[str]:
    """`KEY VALUE` words, sometimes of an odd number."""
    pairs = draw(st.lists(st.tuples(st.sampled_from(KEYS), values.map(str)), max_size=3))
    words = [word for pair in pairs for word in pair]
    return words[:-1] if words and draw(st.integers(0, 9)) == 0 else words


@st.composite
def configs(draw: Callable) -> Case:
    """A file `c.yaml` with overrides: known keys, odd values, or a broken file."""
    if draw(st.integers(0, 2)) == 0:
        return Case({"c.yaml": draw(st.sampled_from(BROKEN_CONFIGS))}, {"opts": []}, REFUSED)
    if draw(st.booleans()):
        content = yaml.safe_dump(draw(odd_json(CONFIG))).encode(errors="surrogatepass")
        return draw(maybe_damaged(Case({"c.yaml": content}, {"opts": draw(overrides())})))
    files = {"c.yaml": yaml.safe_dump(CONFIG).encode()}
    if draw(st.booleans()):
        files = {"c.yaml": b"_BASE_: sub/base.yaml\n", "sub/base.yaml": files["c.yaml"]}
    keys = draw(st.lists(st.sampled_from(sorted(OVERRIDES)), unique=True))
    opts = [str(word) for key in keys for word in (key, OVERRIDES[key])]
    return Case(files, {"opts": opts}, {key: OVERRIDES[key] for key in keys})


def check_config(expected: dict[str, Any] | None, opts: list[str]) -> None:
    cfg = load_config("c.yaml", opts)
    if expected is None:
        read_config(argument_parser("").parse_args(["--config-file", "c.yaml", *opts]))
        return
    assert cfg.SOLVER.BASE_LR == 0.001 and cfg.MODEL.MASK_FORMER.HIDDEN_DIM == 32
    for key, value in expected.items():
        found = functools.reduce(getattr, key.split("."), cfg)
        assert (list(found) if isinstance(found, tuple) else found) == value, key


ODD_SIZES = st.sampled_from([-1, 0, 7, 0.5, "x", "", [], [1, 2, 3, 4], None, "hf-hub:a/b", 1e400])


@st.composite
def models(draw: Callable) -> Case:
    """Overrides for a small model, or an odd architecture of CLIP."""
    names = {"CLASSIFIER__VOCABULARY": ["dog"], "CLASSIFIER__TRAINING_VOCABULARY": ["dog"]}
    cfg = small_config(CLIP__ARCHITECTURE="tiny.json", **names)
    cfg.DATASETS.TRAIN = ("toy_ov_train_base",)
    clip = draw(st.just(ARCHITECTURE) | odd_json(ARCHITECTURE))
    opts = draw(overrides(ODD_SIZES)) if clip == ARCHITECTURE else []
    files = {"c.yaml": cfg.dump().encode(), "tiny.json": to_json(clip)}
    return Case(files, {"opts": opts}, ANY if opts or clip != ARCHITECTURE else {})


def check_model(expected: dict[str, Any] | None, opts: list[str]) -> None:
    model = build_model(load_config("c.yaml", opts))
    assert sum(1 for _ in model.parameters()) > 10


NAMES = ("dog", "cat", "red car", "car|automobile", "狗", "كلب", "कुत्ता", "café", "e-guitar")
ODD_NAMES = st.text(max_size=12) | ODD_TEXTS | st.sampled_from(
    ["dog", "Dog", "dog ", "dog|hound", "|", "#1", '"dog"', "['dog']", "cafe\u0301", "c# lute"]
)  # fmt: skip


@st.composite
def vocabularies(draw: Callable) -> Case:
    """Names as a list, as text, as a file, or very many of them."""
    known = st.lists(st.sampled_from(NAMES), min_size=1, unique=True)
    many = st.just([f"name {i}" for i in range(20_000)])
    names, expected = draw(
        (known | known | many).map(lambda names: (names, {"names": names}))
        | st.lists(ODD_NAMES, max_size=6).map(lambda names: (names, ANY))
    )
    text = draw(st.sampled_from([",", ", ", "\n", "\r\n", ",\n"])).join(names)
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig"] if expected != ANY else ["utf-16"]))
    file = {"n.txt": text.encode(encoding, "surrogatepass")}
    return draw(
        st.sampled_from([Case({}, {"source": source}, expected) for source in (names, text)])
        | maybe_damaged(Case(file, {"source": "n.txt"}, expected))
    )


def check_vocabulary(expected: dict[str, Any] | None, source: str | list[str]) -> None:
    names = parse_vocabulary(source)
    words = [word for name in names for word in synonyms_of(name)]
    assert names and all(word and word == word.strip() for word in words)
    assert len({word.casefold() for word in words}) == len(words), "a word occurs twice"
    assert expected is None or list(names) == expected["names"], names[:9]
    assert source != "n.txt" or parse_names(source) == ("n.txt",), "a stranger's text is a path"
    image, mask = np.full((40, 50, 3), 90, np.uint8), np.ones((40, 50), bool)
    painted = Painter(names[:3]).paint(image, [Segment(name, 0.5, mask) for name in names[:3]])
    assert painted.shape == image.shape and painted.dtype == np.uint8


RATES = ["inf", "nan", "1e9", "0", "-1", "1e-9", "x", "1000"]
OPTIONS = {  # valid and odd values
    "--fps": (["1", "2"], RATES), "--threshold": (["0", "0.5"], ["nan", "inf", "-1", "7"]),
    "--picture-rate": (["1", "2"], RATES), "--vocabulary": (["dog,cat", "toy"], ["", "no.txt"]),
    "--background": (["sky"], ["", ","]), "--track": ([], ["0", "-1", "9", "9" * 20]),
    "--sound": ([], ["no.wav", "out"]), "--opts": ([], ["X", "SEED", "TEST.AUDIO"]),
}  # fmt: skip


@st.composite
def demos(draw: Callable) -> Case:
    """A video, picture or sound with options; sometimes a file of the user is in the way."""
    case = draw(videos() | pictures() | audio_files())
    known = isinstance(case.expected, dict) and "times" in case.expected and draw(st.booleans())
    words: list[str] = []
    for option in draw(st.lists(st.sampled_from(sorted(OPTIONS)), unique=True, max_size=3)):
        valid, odd = OPTIONS[option]
        values = valid if known else valid + odd
        words += [option, draw(st.sampled_from(values))] if values else []
    path, files, expected = case.arguments["path"], dict(case.files), {} if known else ANY
    if draw(st.integers(0, 3)) == 0:
        ending = draw(st.sampled_from(["_labels/mine.txt", ".mp4/mine.txt", ".mp4", ".json"]))
        files[f"out/{Path(path).stem}{ending}"], expected = b"a file of the user", REFUSED
    return Case(files, {"path": path, "words": words}, expected)


def check_demo(expected: dict[str, Any] | None, path: str, words: list[str]) -> None:
    config = write_config(Path("../temporary"))
    script, errors = load_script("demo/demo.py"), io.StringIO()
    line = ["--config-file", str(config), "--input", path, "--output", "out", *words]
    try:
        with (
            mock.patch.object(segmenter, "check_weight_files"),
            mock.patch.object(segmenter, "load_weights"),
            contextlib.redirect_stderr(errors),
        ):
            script.run(line)
    except SystemExit as end:
        last = errors.getvalue().strip().splitlines()[-1]
        assert end.code in (1, 2) and "error: " in last, f"exit {end.code}: {last}"
        raise ValueError(last) from None
    finally:
        config.unlink()
    assert "Traceback" not in errors.getvalue()
    if expected is not None:
        painted, stem = open_source(f"out/{Path(path).stem}.mp4"), Path(path).stem
        assert abs(painted.duration - open_source(path).duration) < 0.6
        assert json.loads(Path(f"out/{stem}.json").read_text())["videos"]


KINDS = {
    "config": Kind(configs(), check_config),
    "model": Kind(models(), check_model, 3),
    "vocabulary": Kind(vocabularies(), check_vocabulary),
    "demo": Kind(demos(), check_demo, 3),
}
