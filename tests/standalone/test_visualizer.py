import matplotlib.colors as mplc
import numpy as np
import pycocotools.mask as mask_coding
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.structures import BitMasks, Boxes, BoxMode, Instances
from detectron2.utils.visualizer import ColorMode, GenericMask, VisImage, Visualizer
from PIL import Image

from tests.helpers.runtime import standalone_only

HEIGHT, WIDTH = 240, 320
RED, GREEN, BLUE = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


def box_mask(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[y0:y1, x0:x1] = 1
    return mask


BOX = box_mask(60, 50, 160, 100)
TWO_MASKS = [BOX, box_mask(150, 80, 250, 180)]
TWO_BOXES = Boxes(torch.tensor([[60.0, 50, 160, 100], [150, 80, 250, 180]]))


def gray_visualizer(scale: float = 1.0, **options) -> Visualizer:
    return Visualizer(np.full((HEIGHT, WIDTH, 3), 128, np.uint8), scale=scale, **options)


def texts(visualizer: Visualizer) -> list[tuple[str, tuple, float]]:
    """(text, position, font size) of each text in order of drawing."""
    drawn = visualizer.get_output().ax.texts
    return [(t.get_text(), tuple(map(float, t.get_position())), t.get_size()) for t in drawn]


def polygons(visualizer: Visualizer) -> list[tuple]:
    """RGBA of the inside of each polygon in order of drawing."""
    patches = visualizer.get_output().ax.patches
    return [tuple(np.round(p.get_facecolor(), 3)) for p in patches if p.get_fill()]


@pytest.fixture
def metadata(request):
    return MetadataCatalog.get(request.node.nodeid).set(
        stuff_classes=["background", "cat", "dog"],
        stuff_colors=[(0, 0, 0), (255, 0, 0), (0, 255, 0)],
        thing_classes=["cat", "dog"],
        thing_colors=[(255, 0, 0), (0, 255, 0)],
    )


@pytest.fixture
def visualizer(metadata):
    return gray_visualizer(metadata=metadata)


@pytest.mark.parametrize("scale, shape", [(1, (240, 320, 3)), (1.5, (360, 480, 3))])
def test_the_picture_is_the_scaled_image(scale, shape, tmp_path):
    output = VisImage(np.random.randint(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8), scale)
    picture = output.get_image()
    assert picture.shape == shape and picture.dtype == np.uint8
    if scale == 1:
        np.testing.assert_array_equal(picture, output.img)
    output.save(str(tmp_path / "picture.png"))
    saved = np.asarray(Image.open(tmp_path / "picture.png").convert("RGB"))
    np.testing.assert_array_equal(saved, picture)


@pytest.mark.parametrize(
    "height, width, scale, expected",
    [(240, 320, 1, 10), (72, 96, 1, 10), (240, 320, 2, 10), (480, 640, 2, 12), (1000, 2000, 1, 15)],
)
def test_the_font_size_depends_on_the_image_size(height, width, scale, expected):
    visualizer = Visualizer(np.zeros((height, width, 3)), scale=scale)
    visualizer.draw_text("hello", (10, 20))
    assert texts(visualizer) == [("hello", (10, 20), expected)]


def test_dark_text_is_brightened(visualizer):
    visualizer.draw_text("hello", (10, 20), color=(0, 0.1, 0.6))
    assert visualizer.get_output().ax.texts[0].get_color() == pytest.approx([0.2, 0.2, 0.8])


def test_an_opaque_mask_replaces_exactly_its_pixels(visualizer):
    picture = visualizer.draw_binary_mask(BOX, RED, alpha=1).get_image()
    assert (picture[53:97, 63:157] == [255, 0, 0]).all()
    outside = box_mask(58, 48, 162, 102) == 0
    assert (picture[outside] == 128).all()


def test_holes_are_not_filled():
    mask = BOX - box_mask(80, 60, 120, 80)
    picture = gray_visualizer().draw_binary_mask(mask, RED, alpha=1).get_image()
    assert (picture[70, 100] == 128).all() and (picture[70, 65] == [255, 0, 0]).all()


@pytest.mark.parametrize(("threshold", "count"), [(36, 2), (37, 1), (None, 2), (9999, 0)])
def test_small_components_are_not_drawn(visualizer, threshold, count):
    mask = BOX | box_mask(10, 150, 20, 155)
    visualizer.draw_binary_mask(mask, RED, text="cat", area_threshold=threshold)
    assert (len(polygons(visualizer)), len(texts(visualizer))) == (count, count > 0)


def test_text_is_in_the_middle_of_the_largest_component(visualizer):
    mask = BOX | box_mask(10, 150, 20, 155)
    visualizer.draw_binary_mask(mask, RED, text="cat")
    assert texts(visualizer) == [("cat", (109.5, 74.5), 10)]
    assert visualizer.get_output().ax.texts[0].get_color() == pytest.approx([1, 0.7, 0.7])


def test_an_empty_mask_draws_nothing(visualizer):
    picture = visualizer.draw_binary_mask(box_mask(0, 0, 0, 0), RED, text="cat").get_image()
    assert (picture == 128).all() and texts(visualizer) == []


def test_a_soft_mask_blends_by_its_probability(visualizer):
    picture = visualizer.draw_soft_mask(BOX * 0.5, RED, alpha=1).get_image()
    np.testing.assert_allclose(picture[75, 110].astype(int), [192, 64, 64], atol=1)
    assert (picture[0, 0] == 128).all()


def test_edges_are_darker_only_on_opaque_polygons(visualizer):
    corners = np.array([[10, 10], [50, 10], [50, 60]])
    visualizer.draw_polygon(corners, (0.8, 0.2, 0.2), alpha=0.5)
    visualizer.draw_polygon(corners, (0.8, 0.2, 0.2), alpha=0.9)
    visualizer.draw_polygon(corners, (0.8, 0.2, 0.2), edge_color="g")
    edges = [patch.get_edgecolor() for patch in visualizer.get_output().ax.patches]
    colors = [(0.8, 0.2, 0.2), (0.24, 0.06, 0.06), (0, 0.5, 0)]
    for edge, expected in zip(edges, colors, strict=True):
        assert edge == pytest.approx((*expected, 1))


def test_widths_of_boxes_lines_and_circles():
    visualizer = gray_visualizer(scale=2)
    visualizer.draw_box((10, 20, 50, 80), edge_color="r")
    visualizer.draw_circle((10, 20), "r")
    visualizer.draw_line([1, 2], [3, 4], "r")
    visualizer.draw_line([1, 2], [3, 4], "r", linewidth=3)
    box, circle = visualizer.get_output().ax.patches
    assert (box.get_width(), box.get_height(), box.get_linewidth()) == (40, 60, 2.5)
    assert circle.radius == 3
    widths = [line.get_linewidth() for line in visualizer.get_output().ax.lines]
    assert widths == pytest.approx([10 / 3, 6])


@pytest.mark.parametrize("form", [np.asarray, torch.as_tensor])
def test_a_label_map_is_drawn_in_its_colors_largest_first(visualizer, form):
    labels = np.full((HEIGHT, WIDTH), 255)
    labels[50:100, 60:160] = 1
    labels[200:220, 60:80] = 2
    visualizer.draw_sem_seg(form(labels))
    assert polygons(visualizer) == [(*RED, 0.8), (*GREEN, 0.8)]
    assert [text for text, _, _ in texts(visualizer)] == ["cat", "dog"]
    edges = {patch.get_edgecolor() for patch in visualizer.get_output().ax.patches}
    assert edges == {mplc.to_rgba((1, 1, 240 / 255))}


def test_a_label_map_without_text_and_small_segments(visualizer):
    labels = np.full((HEIGHT, WIDTH), 255)
    labels[50:100, 60:160] = 1
    labels[10:14, 10:14] = 2
    visualizer.draw_sem_seg(labels, 50, alpha=0.5, draw_text=False)
    assert polygons(visualizer) == [(*RED, 0.5)] and texts(visualizer) == []


@pytest.mark.parametrize(
    "masks",
    [
        [BOX],
        BitMasks(torch.as_tensor(BOX[None])),
        [mask_coding.encode(np.asfortranarray(BOX))],
        [[[60.0, 50, 160, 50, 160, 100, 60, 100]]],
    ],
    ids=["arrays", "bit masks", "run lengths", "polygons"],
)
def test_masks_can_have_any_form(visualizer, masks):
    picture = visualizer.overlay_instances(masks=masks, assigned_colors=[RED]).get_image()
    np.testing.assert_allclose(picture[75, 110].astype(int), [192, 64, 64], atol=1)
    assert (picture[120, 110] == 128).all()


def test_small_objects_are_drawn_last_with_labels_next_to_them(visualizer):
    boxes = np.array(
        [[60, 50, 160, 100], [10, 10, 15, 15], [150, 80, 250, 180], [5, 230, 40, 238.0]]
    )
    visualizer.overlay_instances(boxes=boxes, labels=["a", "b", "c", "d"])
    written = texts(visualizer)
    assert [text for text, _, _ in written] == ["c", "a", "d", "b"]
    # At the corner of large ones; below small ones, or right of them at the image's lower edge.
    assert [position for _, position, _ in written] == [(150, 80), (60, 50), (40, 230), (10, 15)]
    assert [size for _, _, size in written] == [10, 10, 6, 6]


def test_boxes_and_masks_have_the_assigned_colors(visualizer):
    visualizer.overlay_instances(
        boxes=TWO_BOXES, masks=TWO_MASKS, assigned_colors=[BLUE, GREEN], alpha=0.7
    )
    assert polygons(visualizer) == [(*GREEN, 0.7), (*BLUE, 0.7)]


def test_unequal_numbers_of_instances_raise():
    with pytest.raises(AssertionError):
        gray_visualizer().overlay_instances(boxes=np.zeros((2, 4)), labels=["only one"])
    with pytest.raises(AssertionError):
        gray_visualizer().overlay_instances(masks=[np.zeros((3, 3), np.uint8)])


def test_no_instances_draw_nothing():
    for empty in ({}, {"boxes": np.zeros((0, 4)), "labels": []}):
        assert (gray_visualizer().overlay_instances(**empty).get_image() == 128).all()


def _predictions() -> Instances:
    return Instances(
        (HEIGHT, WIDTH),
        pred_boxes=TWO_BOXES,
        scores=torch.tensor([0.914, 0.5]),
        pred_classes=torch.tensor([0, 1]),
        pred_masks=torch.as_tensor(np.stack(TWO_MASKS)).bool(),
    )


def test_predictions_are_labeled_with_name_and_percentage(visualizer):
    visualizer.draw_instance_predictions(_predictions())
    assert [text for text, _, _ in texts(visualizer)] == ["dog 50%", "cat 91%"]
    assert {color[3] for color in polygons(visualizer)} == {0.5}


def test_segmentation_mode_colors_by_class(metadata):
    visualizer = gray_visualizer(metadata=metadata, instance_mode=ColorMode.SEGMENTATION)
    visualizer.draw_instance_predictions(_predictions(), jittering=False)
    assert polygons(visualizer) == [(*GREEN, 0.8), (*RED, 0.8)]


def test_bw_mode_makes_the_background_gray(metadata):
    image = np.full((HEIGHT, WIDTH, 3), (200, 50, 50), np.uint8)
    visualizer = Visualizer(image, metadata, instance_mode=ColorMode.IMAGE_BW)
    picture = visualizer.draw_instance_predictions(_predictions()).get_image()
    assert (picture[5, 5] == 100).all()
    assert polygons(visualizer)[0][3] == 0.3


def test_unknown_classes_are_labeled_by_index():
    visualizer = gray_visualizer(metadata=MetadataCatalog.get("nothing_known"))
    predictions = _predictions()
    predictions.remove("scores")
    visualizer.draw_instance_predictions(predictions)
    assert [text for text, _, _ in texts(visualizer)] == ["1", "0"]


def test_a_record_is_drawn_with_instances_and_label_map(visualizer, tmp_path):
    Image.fromarray(box_mask(200, 200, 250, 230)).save(tmp_path / "labels.png")
    annotations = [
        {"bbox": [10, 10, 60, 80], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1},
        {"bbox": [110, 10, 160, 90], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, "iscrowd": 1},
    ]
    record = {"annotations": annotations, "sem_seg_file_name": str(tmp_path / "labels.png")}
    visualizer.draw_dataset_dict(record)
    written = [text for text, _, _ in texts(visualizer)]
    assert written == ["dog", "cat|crowd", "background", "cat"]
    assert polygons(visualizer)[-1] == (*RED, 0.5)


def test_area_box_and_holes_of_a_mask():
    whole = GenericMask(BOX, HEIGHT, WIDTH)
    holed = GenericMask(BOX - box_mask(80, 60, 120, 80), HEIGHT, WIDTH)
    assert (whole.area(), whole.has_holes, len(whole.polygons)) == (5000, False, 1)
    assert (holed.area(), holed.has_holes) == (4200, True)
    np.testing.assert_allclose(whole.bbox(), [60, 50, 160, 100], atol=1)
    triangle = GenericMask([[10, 10, 50, 10, 50, 60]], HEIGHT, WIDTH)
    assert triangle.area() == 1000 and triangle.mask.shape == (HEIGHT, WIDTH)


@standalone_only
def test_standalone_missing_drawing_says_to_install_detectron2(visualizer):
    with pytest.raises(AttributeError, match="install Detectron2"):
        visualizer.draw_panoptic_seg(None, None)
    with pytest.raises(NotImplementedError, match="install Detectron2"):
        visualizer.overlay_instances(keypoints=np.zeros((1, 17, 3)))
