"""The mapper from a data set's record to the clip that the model takes, and the data loaders.

Shapes: T frames of a clip, L frames of a video, G objects, H W pixels.
"""

import itertools
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import (
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from detectron2.data import transforms as T
from detectron2.structures import BitMasks, Instances
from torch.utils.data import DataLoader

from ovavss_d2.data.augmentation import build_augmentation, transform_frames, transform_masks
from ovavss_d2.data.avsbench import SUBSETS
from ovavss_d2.data.clip_sampler import ClipDataset, ClipSampler
from ovavss_d2.data.masks import decode_masks
from ovavss_d2.media.audio import read_audio
from ovavss_d2.media.audio_format import SAMPLE_RATE
from ovavss_d2.media.audio_pairing import (
    AudioContext,
    audio_at_times,
    check_pairing,
    context_at_times,
)
from ovavss_d2.media.images import read_image

TEST_AUDIO = ("own", "silence", "other")


class AVSClipMapper:
    """Maps a record of `load_records` to a training clip, or at test time to the whole video.

    Returns a dict: "image" uint8 (T, 3, H, W) RGB; "audio" float32 (T, 16000), paired with the
    frames; "audio_valid" bool (T,); "audio_context" float32 (T, S) at test time, if the model has
    an audio classifier (see `AudioContext`); "times" T seconds; "height", "width" of the original
    frames;
    "file_names"; "video_id"; "subset"; "names" that sound; "label_files" (or None) and at test time
    without them "annotations", the ground truth; "clip_seed" int, which depends on the video and
    its frames only. In training also "instances", T `Instances`
    of the same G objects in the same order with `gt_classes` (G,) from 0, `gt_ids` (G,) and
    `gt_masks` (`BitMasks`, empty where the object is not visible), and "labeled" bool (T,), the
    frames with ground truth. Random numbers come from numpy's global generator, which `ClipDataset`
    seeds for each clip.
    """

    @configurable
    def __init__(
        self,
        *,
        is_train: bool,
        augmentation: T.Augmentation,
        num_frames: int,
        frame_range: int,
        pairing: str,
        context: AudioContext | None = None,
        test_audio: str = "own",
        swapped_audio: float = 0.0,
        records: Sequence[dict] = (),
    ):
        """
        Args:
            is_train: sample labeled clips; otherwise take whole videos.
            augmentation: applied to the clip as a whole.
            num_frames: T of a training clip.
            frame_range: largest distance, in frames, between a reference frame and the others.
            pairing: "time" or "released", see `MODEL.AUDIO.PAIRING`.
            context: audio around the frames that an audio classifier takes; None: there is none.
            test_audio: see `select_test_audio`.
            swapped_audio: probability that a training clip gets the audio of another video that
                shares no sounding name with it, so that no visible object sounds: half of these
                clips in all frames, the others in some.
            records: of the data set, to select other videos from.

        Raises:
            ValueError: `pairing` is unknown, or `select_test_audio` fails.
        """
        self.is_train = is_train
        self.augmentation = augmentation
        self.num_frames = num_frames
        self.frame_range = frame_range
        self.pairing = check_pairing(pairing)
        self.context = None if is_train else context
        self.swapped_audio = swapped_audio
        self.records = [record for record in records if record["audio_file"]]
        self.audio_files = None if is_train else select_test_audio(records, test_audio)

    @classmethod
    def from_config(
        cls, cfg: CfgNode, is_train: bool, records: Sequence[dict] = ()
    ) -> dict[str, Any]:
        """Arguments from a config."""
        return {
            "is_train": is_train,
            "augmentation": build_augmentation(cfg, is_train),
            "num_frames": cfg.INPUT.SAMPLING_FRAME_NUM,
            "frame_range": cfg.INPUT.SAMPLING_FRAME_RANGE,
            "pairing": cfg.MODEL.AUDIO.PAIRING,
            "context": audio_context(cfg),
            "test_audio": cfg.TEST.AUDIO,
            "swapped_audio": cfg.INPUT.SWAPPED_AUDIO,
            "records": records,
        }

    def __call__(self, record: dict) -> dict:
        indices = self._sample_frames(record) if self.is_train else range(len(record["times"]))
        size, times = (record["height"], record["width"]), [record["times"][i] for i in indices]
        frames = [read_image(record["file_names"][i], size) for i in indices]
        transforms = self.augmentation(T.AugInput(frames[0]))
        image = transform_frames(transforms, frames)
        file = record["audio_file"]
        if self.audio_files is not None:
            file = self.audio_files[record["video_id"]]
        audio, audio_valid = self._audio_at(file, times)
        swapped = np.zeros(len(indices), bool)
        if self.is_train and (other := self._sample_other_video(record)):
            swapped = (np.random.random() < 0.5) | (np.random.random(len(indices)) < 0.5)
            other_audio, other_valid = self._audio_at(other["audio_file"], times)
            audio[swapped], audio_valid[swapped] = other_audio[swapped], other_valid[swapped]
        labels = record.get("label_files")
        clip = {
            "image": torch.from_numpy(image),
            "audio": torch.from_numpy(audio),
            "audio_valid": torch.from_numpy(audio_valid),
            "times": times,
            "height": record["height"],
            "width": record["width"],
            "file_names": [record["file_names"][i] for i in indices],
            "video_id": record["video_id"],
            "subset": record["subset"],
            "names": record["names"],
            "label_files": labels and [labels[i] for i in indices],
            "clip_seed": zlib.crc32(f"{record['video_id']}:{list(indices)}".encode()),
        }
        if self.context is not None:
            around = context_at_times(self._audio(file, self.context.rate), times, self.context)
            clip["audio_context"] = torch.from_numpy(around)
        if not self.is_train and labels is None and "annotations" in record:
            clip["annotations"] = record["annotations"]  # the ground truth
        if self.is_train:
            # Frames with swapped audio are labeled: no object sounds in them.
            clip["labeled"] = torch.from_numpy(_labeled(record)[indices] | swapped)
            clip["instances"] = _instances(record, indices, transforms, image.shape[2:], swapped)
        return clip

    def _sample_frames(self, record: dict) -> list[int]:
        """Sample a labeled frame and others near it; sorted, repeated only if there are too few."""
        labeled = np.flatnonzero(_labeled(record))
        if not len(labeled):
            raise ValueError(f"video '{record['video_id']}' has no labeled frame to train on")
        reference = int(np.random.choice(labeled))
        first = max(reference - self.frame_range, 0)
        last = min(reference + self.frame_range, len(record["file_names"]) - 1)
        near = [i for i in range(first, last + 1) if i != reference]
        missing = self.num_frames - 1 - len(near)
        if missing < 0:
            near = np.random.choice(near, self.num_frames - 1, replace=False).tolist()
        else:
            near += np.random.choice(range(first, last + 1), missing).tolist()
        return sorted([reference, *near])

    def _sample_other_video(self, record: dict) -> dict | None:
        """With probability `swapped_audio`, a video that shares no name and is long enough."""
        if not self.records or np.random.random() >= self.swapped_audio:
            return None
        start = np.random.randint(len(self.records))
        others = itertools.chain(self.records[start:], self.records[:start])
        length = len(record["times"])
        return _first_without_shared_name((r for r in others if len(r["times"]) >= length), record)

    def _audio_at(self, path: str | None, times: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """The frames' audio, float32 (T, 16000), and whether each is valid, bool (T,)."""
        return audio_at_times(self._audio(path), times, self.pairing)

    @staticmethod
    def _audio(path: str | None, rate: int = SAMPLE_RATE) -> np.ndarray:
        return np.zeros(0, np.float32) if path is None else read_audio(path, rate)


def audio_context(cfg: CfgNode) -> AudioContext | None:
    """The audio around a frame that the config's audio classifier takes; None: it has none."""
    keys = cfg.MODEL.AUDIO_CLASSIFIER
    return AudioContext(keys.SAMPLE_RATE, keys.CONTEXT) if keys.NAME else None


def select_test_audio(records: Sequence[dict], choice: str) -> dict[str, str | None] | None:
    """Select the audio files for testing.

    Args:
        records: of the data set, in its order.
        choice: "own"; "silence"; or "other": the audio of the next video (the first follows the
            last) that has audio and shares no sounding name.

    Returns:
        Video id to file (None: silence), or None for "own".

    Raises:
        ValueError: the choice is unknown, or a video has no such other.
    """
    if choice not in TEST_AUDIO:
        raise ValueError(f"TEST.AUDIO is '{choice}', expected one of {TEST_AUDIO}")
    if choice == "own":
        return None
    if choice == "silence":
        return {record["video_id"]: None for record in records}
    files = {}
    for i, record in enumerate(records):
        following = (r for r in (*records[i + 1 :], *records[:i]) if r["audio_file"])
        other = _first_without_shared_name(following, record)
        if other is None:
            raise ValueError(
                f"TEST.AUDIO is 'other', but every video with audio shares a name with "
                f"'{record['video_id']}'"
            )
        files[record["video_id"]] = other["audio_file"]
    return files


def _first_without_shared_name(records: Iterable[dict], record: dict) -> dict | None:
    names = set(record["names"])
    return next((other for other in records if names.isdisjoint(other["names"])), None)


def _labeled(record: dict) -> np.ndarray:
    """Which frames of a video have ground truth, bool (L,)."""
    files = record.get("label_files")
    if files is not None:
        return np.array([file is not None for file in files])
    only_first = record["subset"] == SUBSETS[0]
    return np.array([i == 0 or not only_first for i in range(len(record["file_names"]))])


def _instances(
    record: dict,
    indices: Sequence[int],
    transforms: T.TransformList,
    size: tuple[int, int],
    swapped: np.ndarray,
) -> list[Instances]:
    """Ground truth of a clip; frames with swapped audio have empty masks."""
    objects = record.get("annotations", [])
    masks = np.zeros((0, len(indices), *size), bool)
    if objects:
        masks = np.concatenate([_object_masks(a, record, indices) for a in objects])
        masks = transform_masks(transforms, masks).reshape(len(objects), len(indices), *size)
        masks[:, swapped] = False
    visible = np.any(masks, axis=(1, 2, 3))
    objects = list(itertools.compress(objects, visible))
    classes = torch.tensor([a["category_id"] - 1 for a in objects], dtype=torch.int64)
    ids = torch.tensor([a["id"] for a in objects], dtype=torch.int64)
    bits = torch.from_numpy(masks[visible])
    return [
        Instances(tuple(size), gt_classes=classes, gt_ids=ids, gt_masks=BitMasks(bits[:, t]))
        for t in range(len(indices))
    ]


def _object_masks(annotation: dict, record: dict, indices: Sequence[int]) -> np.ndarray:
    """One object's masks in the clip: uint8 (T, H, W)."""
    try:
        chosen = [annotation["segmentations"][i] for i in indices]
        return decode_masks(chosen, record["height"], record["width"])
    except (ValueError, IndexError) as error:
        raise ValueError(
            f"video '{record['video_id']}', annotation {annotation['id']}: {error}"
        ) from error


def build_train_loader(cfg: CfgNode) -> DataLoader:
    """Detectron2's training loader over `DATASETS.TRAIN`: endless batches, each a list of clips."""
    records = get_detection_dataset_dicts(cfg.DATASETS.TRAIN, filter_empty=False)
    return build_detection_train_loader(
        ClipDataset(records, AVSClipMapper(cfg, is_train=True, records=records)),
        mapper=None,
        sampler=ClipSampler(cfg.SEED),
        seed=0,  # a generator of its own, so that it draws nothing from the one of dropout
        total_batch_size=cfg.SOLVER.IMS_PER_BATCH,
        aspect_ratio_grouping=False,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )


def build_test_loader(cfg: CfgNode, dataset_name: str) -> DataLoader:
    """Detectron2's test loader: each video of a data set once, as a list of one."""
    records = get_detection_dataset_dicts(dataset_name, filter_empty=False)
    mapper = AVSClipMapper(cfg, is_train=False, records=records)
    workers = cfg.DATALOADER.NUM_WORKERS
    return build_detection_test_loader(records, mapper=mapper, num_workers=workers)
