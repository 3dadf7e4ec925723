"""Label maps by a formula, and their metrics, which were recorded from Detectron2."""

from pathlib import Path

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import SemSegEvaluator
from PIL import Image

CLASSES = ["background", "left", "right", "absent", "imagined"]
IGNORED = 255


def label_maps() -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs (ground truth, prediction) (H, W): "absent" in neither, "imagined" only predicted."""
    pairs = []
    for index, (height, width) in enumerate([(48, 64), (60, 33), (25, 110)]):
        y, x = np.mgrid[:height, :width]
        truth = ((x // 11 + y // 7 + index) % 3).astype(np.uint8)
        predicted = np.roll(truth, (1 + index, 2), axis=(0, 1))
        predicted[(3 * x + 5 * y) % 17 == 0] = 4
        truth[(x + y) % 13 == 0] = IGNORED
        pairs.append((truth, predicted))
    return pairs


def evaluate_label_maps(folder: Path, name: str) -> dict[str, float]:
    """Write the ground truth to `folder`, register it as `name` and evaluate the predictions."""
    pairs = label_maps()
    records = []
    for index, (truth, _) in enumerate(pairs):
        Image.fromarray(truth).save(folder / f"{index}.png")
        label_file = str(folder / f"{index}.png")
        records.append({"file_name": f"{index}.jpg", "sem_seg_file_name": label_file})
    DatasetCatalog.register(name, lambda: records)
    MetadataCatalog.get(name).set(stuff_classes=CLASSES, ignore_label=IGNORED)
    evaluator = SemSegEvaluator(name, distributed=False, output_dir=str(folder / "out"))
    evaluator.reset()
    for record, (_, predicted) in zip(records, pairs, strict=True):
        labels = torch.as_tensor(predicted).long()
        scores = torch.nn.functional.one_hot(labels, len(CLASSES)).permute(2, 0, 1).float()
        evaluator.process([record], [{"sem_seg": scores}])
    results = evaluator.evaluate()
    return {key: float(value) for key, value in results["sem_seg"].items()}
