"""Each suite of the benchmark on a tiny model: what it measures, not how long it takes."""

import json
import math
import runpy

import pytest

from ovavss_d2.config import load_config
from tests.helpers.paths import REPOSITORY
from tests.helpers.tiny_world import CONFIG, make_world, tiny_options
from tools.benchmark import accuracy, growth, report, sampling, stages, training
from tools.benchmark.models import Variant, build, build_variant

SIZE = (40, 48)


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    root = make_world(tmp_path_factory.mktemp("world"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(root))
        yield tiny_options(root)


def test_stages_cover_a_clip_and_count_operations(options, tmp_path):
    rows = stages.stages(CONFIG, options, size=SIZE, named=2, repeats=1, folder=tmp_path)
    by_stage = {row["stage"]: row for row in rows}
    networks = {"audio", "backbone", "pixel decoder", "mask decoder"}
    assert {"encode", "decode", "post-processing", *networks} <= set(by_stage)
    assert {"names by crop", "names by dense", "names by query"} <= set(by_stage)
    assert not list(tmp_path.iterdir())
    assert all(by_stage[stage]["GFLOP"] > 0 for stage in networks | {"names by crop"})
    assert all(row["ms"] > 0 for row in rows)


def test_variants_are_compared_with_the_reference(options):
    settings = (Variant("default"), Variant("other", ("TEST.SCORE_THRESHOLD", 0.0)))
    variants = (accuracy.VARIANTS[0], *settings)
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
    for variant in (*accuracy.VARIANTS, *training.VARIANTS):
        load_config(CONFIG, [*options, *map(str, variant.opts)])


def test_growth_has_a_row_per_value_of_every_axis(options):
    axes = {"T": (1, 2), "Q": (3,), "K": (50,), "named queries": (2,), "video frames": (7,)}
    rows = growth.growth(CONFIG, options, size=SIZE, repeats=1, axes=axes)
    assert [(row["axis"], row["value"]) for row in rows] == [
        (axis, value) for axis, values in axes.items() for value in values
    ]
    expected = math.log(rows[1]["ms"] / rows[0]["ms"], 2)
    assert rows[0]["exponent"] is None and rows[1]["exponent"] == pytest.approx(expected)
    assert axes.keys() == growth.AXES.keys()


def test_the_parts_of_a_step_add_up_and_checkpointing_has_the_same_loss(options):
    variants = (Variant("plain"), Variant("again", ("MODEL.CHECKPOINTING", True)))
    rows = training.training(CONFIG, options, size=SIZE, clips=1, repeats=1, variants=variants)
    for row in rows:
        assert row["step ms"] == pytest.approx(sum(row[part] for part in training.PARTS))
        assert all(row[part] > 0 for part in training.PARTS)
    assert rows[0]["loss"] == pytest.approx(rows[1]["loss"])


def test_compiled_training_is_skipped_without_a_compiler(options, monkeypatch, caplog):
    monkeypatch.setattr(training.shutil, "which", lambda name: None)
    variants = (Variant("compiled", ("MODEL.COMPILE", True)),)
    arguments = {"size": SIZE, "clips": 1, "repeats": 1, "variants": variants}
    assert training.training(CONFIG, options, **arguments) == []
    assert "'compiled' is skipped" in caplog.text


def test_deformable_attention_is_timed_forward_and_backward():
    rows = sampling.sampling(frames=1, size=(32, 48), repeats=1)
    assert rows[0]["version"] == "plain" and len(rows) > 1
    assert all(min(row["forward ms"], row["backward ms"]) > 0 for row in rows)


def test_tables_have_three_digits_and_no_empty_columns():
    rows = [{"name": "a", "ms": 1234.5, "GPU MiB": None}, {"name": "b", "ms": 0.01234}]
    text = report.table(rows)
    assert "1,234" in text and "0.012" in text and "GPU" not in text
    assert "-" in report.table([{"ms": math.nan}, {"ms": 1.0}]).splitlines()[2]


def test_a_run_prints_and_writes_its_tables(tmp_path, monkeypatch, capsys):
    rows = [{"version": "plain", "forward ms": 2.0}]
    monkeypatch.setattr(sampling, "sampling", lambda **_: rows)
    script = runpy.run_path(str(REPOSITORY / "tools/benchmark/__main__.py"))
    script["main"](["sampling", "--output", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "### Deformable attention" in printed and "commit" in printed
    assert json.loads((tmp_path / "benchmark.json").read_text())["sampling"]["rows"] == rows
    assert (tmp_path / "benchmark.md").read_text().strip() == printed.strip()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["speed"], "error: suite 'speed' is unknown"),
        (["growth", "--repeats", "0"], "must be at least 1"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, message, capsys):
    script = runpy.run_path(str(REPOSITORY / "tools/benchmark/__main__.py"))
    with pytest.raises(SystemExit) as ended:
        script["main"](arguments)
    lines = capsys.readouterr().err.strip().splitlines()
    assert ended.value.code == 1 and len(lines) == 1 and message in lines[0]
