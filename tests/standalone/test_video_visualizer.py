import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.structures import Boxes, Instances
from detectron2.utils.video_visualizer import VideoVisualizer
from detectron2.utils.visualizer import ColorMode

HEIGHT, WIDTH = 120, 200
FRAME = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)


@pytest.fixture
def metadata(request):
    return MetadataCatalog.get(request.node.nodeid).set(
        thing_classes=["cat", "dog"],
        stuff_classes=["background", "cat"],
        stuff_colors=[(0, 0, 0), (255, 0, 0)],
    )


def detections(shift: int, label: int = 0, with_masks: bool = True) -> Instances:
    """One 80 x 60 object at (20 + shift, 30)."""
    found = Instances((HEIGHT, WIDTH))
    found.pred_boxes = Boxes(torch.tensor([[20.0 + shift, 30, 100 + shift, 90]]))
    found.scores = torch.tensor([0.9])
    found.pred_classes = torch.tensor([label])
    if with_masks:
        found.pred_masks = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool)
        found.pred_masks[0, 30:90, 20 + shift : 100 + shift] = True
    return found


def edge_color(output) -> tuple[float, ...]:
    return tuple(output.ax.patches[0].get_edgecolor()[:3])


@pytest.mark.parametrize("with_masks", [True, False])
def test_a_moving_object_keeps_its_color(metadata, with_masks):
    visualizer = VideoVisualizer(metadata)
    colors = {
        edge_color(visualizer.draw_instance_predictions(FRAME, detections(shift, 0, with_masks)))
        for shift in range(0, 60, 10)
    }
    assert len(colors) == 1


def test_a_distant_object_or_another_class_gets_a_new_color(metadata):
    visualizer = VideoVisualizer(metadata)
    np.random.seed(0)  # these random colors are different
    first = edge_color(visualizer.draw_instance_predictions(FRAME, detections(0)))
    other_class = edge_color(visualizer.draw_instance_predictions(FRAME, detections(0, label=1)))
    far = edge_color(visualizer.draw_instance_predictions(FRAME, detections(75)))
    again = edge_color(visualizer.draw_instance_predictions(FRAME, detections(0)))
    assert len({first, other_class, far}) == 3
    assert again == first


def test_masks_replace_boxes(metadata):
    visualizer = VideoVisualizer(metadata)
    with_masks = visualizer.draw_instance_predictions(FRAME, detections(0))
    boxes_only = visualizer.draw_instance_predictions(FRAME, detections(0, with_masks=False))
    assert [patch.get_fill() for patch in with_masks.ax.patches] == [True]
    assert [patch.get_fill() for patch in boxes_only.ax.patches] == [False]
    assert with_masks.ax.texts[0].get_text() == "cat 90%"


def test_a_frame_without_detections_does_not_change(metadata):
    visualizer = VideoVisualizer(metadata)
    output = visualizer.draw_instance_predictions(FRAME, detections(0)[torch.tensor([False])])
    np.testing.assert_array_equal(output.get_image(), FRAME)


def test_bw_mode_makes_the_background_gray(metadata):
    frame = np.full_like(FRAME, (200, 50, 50))
    visualizer = VideoVisualizer(metadata, ColorMode.IMAGE_BW)
    picture = visualizer.draw_instance_predictions(frame, detections(0)).get_image()
    assert (picture[5, 5] == 100).all()
    with pytest.raises(AssertionError):
        VideoVisualizer(metadata, ColorMode.SEGMENTATION)


def test_label_maps_are_drawn_in_their_colors(metadata):
    labels = np.full((HEIGHT, WIDTH), 255)
    labels[30:90, 20:100] = 1
    output = VideoVisualizer(metadata).draw_sem_seg(FRAME, labels)
    assert output.ax.texts[0].get_text() == "cat"
    np.testing.assert_allclose(output.get_image()[40, 40].astype(int), [230, 26, 26], atol=1)
