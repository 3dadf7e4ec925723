"""Each suite on a tiny world: what it measures, not how long it takes."""

import runpy
from pathlib import Path

import pytest

from ovavss_d2.config import load_config
from tests.helpers.tiny_world import CONFIG, ROOT, make_world, tiny_options
from tools.benchmark import accuracy, growth, stages, training
from tools.benchmark.models import Variant, build, build_variant

SIZE = (40, 48)


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    make_world(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(root))
        yield tiny_options(root)


def test_stages_cover_a_clip_and_count_operations(options, tmp_path):
    rows = stages.stages(CONFIG, options, size=SIZE, passing=2, repeats=1, folder=tmp_path)
    by_stage = {row["stage"]: row for row in rows}
    assert {"decode", "audio", "backbone", "pixel decoder", "mask decoder", "encode"} <= set(
        by_stage
    )
    assert {"names by crop", "names by dense", "names by query"} <= set(by_stage)
    assert not list(tmp_path.iterdir())
    assert by_stage["backbone"]["GFLOP"] > 0 and all(row["ms"] > 0 for row in rows)


def test_the_time_of_a_clip_is_localisation_plus_naming(options):
    rows = stages.passing_curve(CONFIG, options, size=SIZE, counts=(1, 3), repeats=1, seconds=9)
    assert [row["queries"] for row in rows] == [1, 3]
    for row in rows:
        assert row["clip by crop s"] == pytest.approx(row["localise s"] + row["crop s"])


def test_every_way_of_naming_is_compared_with_the_reference(options):
    variants = (
        accuracy.VARIANTS[0],
        Variant("default"),
        Variant("other", ("TEST.SCORE_THRESHOLD", 0.0)),
    )
    rows = accuracy.compare(CONFIG, options, variants=variants, videos=2)
    assert [row["variant"] for row in rows] == [accuracy.REFERENCE, "default", "other"]
    assert rows[0]["speed"] == 1 and rows[1]["crops"] <= rows[0]["crops"]
    assert rows[1]["mIoU"] == rows[0]["mIoU"] and rows[1]["cost"] == 0  # dropping is exact


def test_variants_share_the_weights(options):
    model = build(CONFIG, options, weights=False)
    for variant in (accuracy.VARIANTS[0], accuracy.VARIANTS[-1]):
        other = build_variant(model, CONFIG, options, variant)
        assert other.backbone is model.backbone
        assert other.classifier.pixel_classifiers["crop"].clip.model is model.classifier.clip.model


def test_the_keys_of_every_variant_exist(options):
    for variant in accuracy.VARIANTS:
        load_config(CONFIG, [*options, *map(str, variant.opts)])


def test_growth_goes_along_every_axis(options):
    axes = {"T": (1, 2), "Q": (3,), "K": (50,), "L": (7,)}
    rows = growth.growth(CONFIG, options, size=SIZE, repeats=1, axes=axes)
    assert [(row["axis"], row["value"]) for row in rows] == [
        (axis, value) for axis, values in axes.items() for value in values
    ]


def test_the_parts_of_a_step_add_up_and_checkpointing_has_the_same_loss(options):
    variants = (Variant("plain"), Variant("again", ("MODEL.CHECKPOINTING", True)))
    rows = training.training(CONFIG, options, size=SIZE, clips=1, repeats=1, variants=variants)
    for row in rows:
        assert row["step ms"] == pytest.approx(sum(row[part] for part in training.PARTS))
        assert all(row[part] > 0 for part in training.PARTS)
    assert rows[0]["loss"] == pytest.approx(rows[1]["loss"])


def test_compiled_training_is_left_out_where_there_is_no_compiler(options, monkeypatch, caplog):
    monkeypatch.setattr(training.shutil, "which", lambda name: None)
    variants = (Variant("plain"), Variant("compiled", ("MODEL.COMPILE", True)))
    rows = training.training(CONFIG, options, size=SIZE, clips=1, repeats=1, variants=variants)
    assert [row["variant"] for row in rows] == ["plain"]
    assert "'compiled' is left out" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["speed"], "error: no suite 'speed'"), (["growth", "--repeats", "0"], "must be at least 1")],
)
def test_wrong_arguments_end_in_one_line(arguments, message, capsys):
    script = runpy.run_path(str(Path(ROOT) / "tools" / "benchmark" / "__main__.py"))
    with pytest.raises(SystemExit) as ended:
        script["main"](arguments)
    lines = capsys.readouterr().err.strip().splitlines()
    assert ended.value.code == 1 and len(lines) == 1 and message in lines[0]
