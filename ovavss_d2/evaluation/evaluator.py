"""The evaluator of a data set of videos, for the AVSBench-OV and AVSS protocols.

Shape letters: L frames of a video, K classes including background, H W pixels of a frame.
"""

import logging
import os
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from torch import Tensor
from torch.nn import functional as F

from ovavss_d2.data.label_maps import VOID, resize_labels, write_label_map
from ovavss_d2.evaluation import report
from ovavss_d2.evaluation.best_worst import BestWorstVideos, make_example, write_best_worst
from ovavss_d2.evaluation.charts import write_charts
from ovavss_d2.evaluation.metrics import PROTOCOLS, StreamingMetrics
from ovavss_d2.evaluation.truth import named_ids, true_frames
from ovavss_d2.vocabulary import name_key, synonyms_of

logger = logging.getLogger(__name__)

SIZE = 224  # the protocols compare at 224 x 224


class AVSSEvaluator(DatasetEvaluator):
    """All protocols in one pass over the videos, in constant memory."""

    def __init__(
        self,
        dataset_name: str,
        *,
        output_dir: str | os.PathLike | None = None,
        save_predictions: bool = False,
    ):
        """
        Args:
            dataset_name: a registered data set.
            output_dir: folder for the reports (see `report.write`) and `predictions/`; None:
                nothing is written.
            save_predictions: write every label map as an indexed PNG of the data set's ids.
        """
        if save_predictions and output_dir is None:
            raise ValueError("save_predictions needs an output_dir")
        self._dataset_name = dataset_name
        self._metadata = MetadataCatalog.get(dataset_name)
        self._output_dir = None if output_dir is None else Path(output_dir)
        self._save_predictions = save_predictions
        self.reset()

    def reset(self) -> None:
        """Remove all videos."""
        self._by_subset: dict[str, StreamingMetrics] = {}
        self._best_worst = BestWorstVideos()

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Add the model's outputs for some videos.

        Args:
            inputs: the mapper's videos, with `subset`, `names` of the sounding objects,
                `label_files` or `annotations`, and `file_names`.
            outputs: the model's, with `label_map` (L, H, W) and the `names` of its labels.
        """
        for video, output in zip(inputs, outputs, strict=True):
            ids = ids_of_labels(output["names"], self._metadata.names)
            if self._save_predictions:
                self._write_label_maps(video, ids[output["label_map"].cpu().numpy()])
            self._compare(video, ids[resize_prediction(output["label_map"]).numpy()])

    def _compare(self, video: dict, predictions: np.ndarray) -> None:
        """Add a video's predicted ids (L, 224, 224)."""
        named = named_ids(video.get("names"), self._metadata)
        truths = {i: resize_truth(ids) for i, ids in true_frames(video, self._metadata)}
        subset = self._by_subset.setdefault(video.get("subset") or "all", self._new_metrics())
        matrix = subset.add_video(
            str(video["video_id"]), ((named[ids], predictions[i], ids) for i, ids in truths.items())
        )
        counted = {i: named[ids] * (ids != VOID) for i, ids in truths.items()}
        self._best_worst.add(make_example(video, matrix, counted, predictions))

    def evaluate(self) -> OrderedDict | None:
        """Merge the processes and report.

        Returns:
            In the main process, figures in percent by protocol (`PROTOCOLS`); otherwise None.

        Raises:
            ValueError: no frame has ground truth.
        """
        comm.synchronize()
        gathered = comm.gather((self._by_subset, self._best_worst), dst=0)
        if not comm.is_main_process():
            return None
        by_subset, total, best_worst = self._merged(gathered)
        if not total.frames:
            raise ValueError(
                f"no frame of '{self._dataset_name}' has ground truth; "
                "its records need label_files or annotations"
            )
        results = report.results(total, by_subset, self._dataset_name, self._metadata)
        report.log(results)
        if self._output_dir is not None:
            report.write(results, self._output_dir)
            write_charts(total.matrix, results, self._output_dir)
            write_best_worst(best_worst, self._metadata, self._output_dir)
            logger.info("Results are in %s", self._output_dir)
        return OrderedDict((protocol, dict(results[protocol])) for protocol in PROTOCOLS)

    def _new_metrics(self) -> StreamingMetrics:
        return StreamingMetrics(1 + len(self._metadata.names))

    def _merged(
        self, gathered: list[tuple[dict[str, StreamingMetrics], BestWorstVideos]]
    ) -> tuple[dict[str, StreamingMetrics], StreamingMetrics, BestWorstVideos]:
        """Merge the processes: metrics by subset, of the data set, and best and worst videos."""
        merged: dict[str, StreamingMetrics] = {}
        total, best_worst = self._new_metrics(), BestWorstVideos()
        for by_subset, videos in gathered:
            best_worst.merge(videos)
            for subset, metrics in by_subset.items():
                merged.setdefault(subset, self._new_metrics()).merge(metrics)
                total.merge(metrics)
        return dict(sorted(merged.items())), total, best_worst

    def _write_label_maps(self, video: dict, maps: np.ndarray) -> None:
        assert self._output_dir is not None  # see __init__
        folder = self._output_dir / "predictions" / str(video["video_id"])
        palette = np.asarray(self._metadata.stuff_colors, np.uint8)
        for file_name, ids in zip(video["file_names"], maps, strict=True):
            write_label_map(folder / f"{Path(file_name).stem}.png", ids, palette)


def ids_of_labels(names: tuple[str, ...], dataset_names: tuple[str, ...]) -> np.ndarray:
    """Map labels, 0 (background) and 1 to len(names), to the data set's ids.

    Returns:
        int64 (1 + len(names),); 0 for a name that the data set does not have. Of synonyms ("a|b"),
        the first one that it has, also as a synonym, is used. Names are compared by `name_key`.
    """
    indices: dict[str, int] = {}
    for i, name in enumerate(dataset_names, start=1):
        for word in synonyms_of(name):
            indices.setdefault(name_key(word), i)
    keys = (map(name_key, synonyms_of(name)) for name in names)
    found = ((indices[key] for key in words if key in indices) for words in keys)
    return np.array([0, *(next(ids, 0) for ids in found)], np.int64)


def resize_prediction(label_map: Tensor) -> Tensor:
    """Resize label maps (L, H, W) to 224 x 224 by torch's nearest neighbor (top-left pixel).

    Returns:
        int64 (L, 224, 224) on the CPU.
    """
    maps = label_map[:, None].to(torch.float32)  # exact for labels below 2^24
    return F.interpolate(maps, size=(SIZE, SIZE), mode="nearest")[:, 0].long().cpu()


def resize_truth(ids: np.ndarray) -> np.ndarray:
    """Resize ids (H, W), 0..255, to 224 x 224 by Pillow's nearest neighbor (center pixel)."""
    return resize_labels(ids.astype(np.uint8), (SIZE, SIZE))


def per_frame(
    video: dict, output: dict, dataset_names: tuple[str, ...] | None = None
) -> Iterator[tuple[dict, dict]]:
    """Convert a video's input and output to per-image ones for Detectron2's own tools.

    Args:
        video: the model's input.
        output: the model's output.
        dataset_names: names of the classes 1, 2, ...; default: those of the output.

    Yields:
        For each frame ({"file_name", "image_id", "height", "width"}, {"sem_seg": uint8 (K, H, W),
        one-hot}), the arguments of `SemSegEvaluator.process([input], [output])`.
    """
    names = output["names"] if dataset_names is None else dataset_names
    ids = torch.from_numpy(ids_of_labels(output["names"], names))
    classes = torch.arange(1 + len(names))[:, None, None]
    for i, label_map in enumerate(output["label_map"].cpu()):
        image = {
            "file_name": video["file_names"][i],
            "image_id": f"{video['video_id']}/{i}",
            "height": label_map.shape[0],
            "width": label_map.shape[1],
        }
        yield image, {"sem_seg": (ids[label_map.long()] == classes).to(torch.uint8)}
