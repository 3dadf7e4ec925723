import json
import math

import pytest
import torch
from detectron2.utils.events import (
    CommonMetricPrinter,
    EventStorage,
    EventWriter,
    JSONWriter,
    TensorboardXWriter,
    get_event_storage,
    has_event_storage,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.helpers.log_lines import recorded_lines


def test_the_innermost_storage_is_the_current_one():
    assert not has_event_storage()
    with pytest.raises(AssertionError, match="get_event_storage"):
        get_event_storage()
    with EventStorage() as outer:
        with EventStorage() as inner:
            assert get_event_storage() is inner
        assert get_event_storage() is outer and has_event_storage()
    assert not has_event_storage()


def test_scalars_keep_their_iteration():
    storage = EventStorage(start_iter=5)
    storage.put_scalar("x", torch.tensor(1.5))
    storage.step()
    storage.put_scalars(x=2, y=3)
    storage.put_scalar("z", 4, cur_iter=100)
    assert storage.iter == storage.iteration == 6
    assert storage.history("x").values() == [(1.5, 5), (2.0, 6)]
    assert storage.latest() == {"x": (2.0, 6), "y": (3.0, 6), "z": (4.0, 100)}
    storage.put_scalar("z", math.nan)
    assert math.isnan(storage.latest()["z"][0])
    with pytest.raises(KeyError, match="nothing"):
        storage.history("nothing")


def test_a_smoothed_scalar_is_the_median_of_its_last_iterations():
    storage = EventStorage()
    for step, value in enumerate([9.0, 1.0, 7.0, 2.0, 3.0]):
        storage.iter = step
        storage.put_scalar("noisy", value)
        storage.put_scalar("exact", value, smoothing_hint=False)
    assert storage.latest_with_smoothing_hint(3) == {"noisy": (3.0, 4), "exact": (3.0, 4)}
    assert storage.latest_with_smoothing_hint(4)["noisy"] == (2.5, 4)
    assert storage.smoothing_hints() == {"noisy": True, "exact": False}
    with pytest.raises(AssertionError, match="smoothing_hint"):
        storage.put_scalar("exact", 1.0)


def test_the_window_counts_iterations_not_samples():
    storage = EventStorage()
    for step in (0, 10, 18, 19):
        storage.iter = step
        storage.put_scalar("rare", step)
    assert storage.count_samples("rare", 5) == 2
    assert storage.latest_with_smoothing_hint(5)["rare"] == (18.5, 19)


def test_name_scopes_are_prefixes():
    storage = EventStorage()
    with storage.name_scope("eval"):
        storage.put_scalar("x", 1)
    storage.put_scalar("x", 2)
    assert storage.latest() == {"eval/x": (1.0, 0), "x": (2.0, 0)}


def test_json_lines_contain_each_scalar_once(tmp_path):
    path = tmp_path / "metrics.json"
    writer = JSONWriter(str(path), window_size=3)
    with EventStorage() as storage:
        for step in range(6):
            storage.iter = step
            storage.put_scalar("loss", float(step))
            if step == 3:
                storage.put_scalar("eval/AP", 50.0, smoothing_hint=False)
            if step % 3 == 2:
                writer.write()
                writer.write()
    writer.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"iteration": 2, "loss": 1.0},
        {"iteration": 5, "loss": 4.0},
        {"iteration": 3, "eval/AP": 50.0},
    ]


def test_json_lines_are_appended_to_an_existing_file(tmp_path):
    path = tmp_path / "metrics.json"
    for step in range(2):
        writer = JSONWriter(str(path))
        with EventStorage(step) as storage:
            storage.put_scalar("x", step)
            writer.write()
        writer.close()
    assert [json.loads(line)["iteration"] for line in path.read_text().splitlines()] == [0, 1]


def test_tensorboard_gets_scalars_images_and_histograms(tmp_path):
    writer = TensorboardXWriter(str(tmp_path))
    with EventStorage() as storage:
        for step in range(4):
            storage.iter = step
            storage.put_scalar("loss", float(step))
        storage.put_image("picture", torch.zeros(3, 4, 5))
        storage.put_histogram("weights", torch.arange(10.0), bins=5)
        writer.write()
        writer.write()
    writer.close()
    board = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in board.Scalars("loss")] == [(3, 1.5)]
    assert [(image.width, image.height) for image in board.Images("picture")] == [(5, 4)]
    histogram = board.Histograms("weights")[0].histogram_value
    assert (histogram.num, histogram.sum, histogram.bucket) == (10, 45, [2] * 5)


def test_an_unused_tensorboard_writer_creates_no_file(tmp_path):
    writer = TensorboardXWriter(str(tmp_path / "events"))
    with EventStorage():
        writer.write()
    writer.close()
    assert not (tmp_path / "events").exists()


@pytest.fixture
def printed():
    """Lines of the common metric printer without GPU memory."""
    with recorded_lines("detectron2.utils.events") as lines:
        yield lambda: [line.split("max_mem")[0].rstrip() for line in lines]


def test_the_printed_line_equals_detectron2(printed):
    printer = CommonMetricPrinter(max_iter=100)
    with EventStorage() as storage:
        for step in range(30):
            storage.iter = step
            storage.put_scalars(time=float(2 ** (step % 7)), data_time=float(3 ** (step % 5)))
            storage.put_scalars(total_loss=step, loss_mask=0.000123456 * step)
            storage.put_scalar("[metric]accuracy", 0.5)
            storage.put_scalar("lr", 1e-4 * step, smoothing_hint=False)
        printer.write()
        storage.iter = 100
        printer.write()  # prints nothing after the last iteration
        assert storage.latest()["eta_seconds"] == (560.0, 29)
    assert printed() == [
        " eta: 0:09:20  iter: 29  total_loss: 19.5  loss_mask: 0.002407  "
        "[metric]accuracy: 0.5  time: 17.0333  last_time: 2.0000  "
        "data_time: 24.2000  last_data_time: 81.0000   lr: 0.0029"
    ]


def test_the_printed_line_without_times_and_learning_rate(printed):
    with EventStorage(3):
        CommonMetricPrinter().write()
    assert printed() == [" iter: 3       lr: N/A"]


def test_a_writer_must_implement_write():
    with pytest.raises(NotImplementedError):
        EventWriter().write()
