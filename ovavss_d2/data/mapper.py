"""From a data set's record to a clip that the model takes, and the loaders that do so in batches.

Shapes: T frames of a clip, L of the video, N objects, H W pixels.
"""

import itertools
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from detectron2.config import configurable
from detectron2.data import (
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from detectron2.data import detection_utils as d2_utils
from detectron2.structures import BitMasks, Instances
from PIL import Image

from ovavss_d2.data.augmentation import (
    ClipAugmentation,
    build_augmentations,
    transform_frames,
    transform_masks,
)
from ovavss_d2.data.avsbench import SUBSETS
from ovavss_d2.data.clip_sampler import ClipStream, StreamSampler
from ovavss_d2.data.masks import decode_masks
from ovavss_d2.media.audio import read_audio, released_examples, seconds_at

PAIRINGS = ("time", "released")
SOUNDS = ("own", "silence", "other")


class AVSClipMapper:
    """Makes a training clip, or the whole video at test time, of a record of `load_records`.

    Returns a dict per clip: "image" uint8 (T, 3, H, W) RGB; "audio" float32 (T, 16000), what each
    frame hears; "audio_valid" bool (T,); "times" T seconds; "height", "width" of the original
    frames; "file_names"; "video_id"; "subset"; "names" that sound; "label_files" (or None);
    "clip_seed" int, which depends on the video and its frames only. In training also "instances", T
    `Instances` of the same N objects in the same order with `gt_classes` (N,) from 0, `gt_ids` (N,)
    and `gt_masks` (`BitMasks`, empty where the object is not seen), and "labeled" bool (T,), the
    frames with truth. Random numbers are numpy's global ones, which `ClipStream` seeds for each
    clip.
    """

    @configurable
    def __init__(
        self,
        *,
        is_train: bool,
        augmentation: ClipAugmentation,
        num_frames: int,
        frame_range: int,
        pairing: str,
        sound_files: Mapping[str, str | None] | None = None,
        swapped_audio: float = 0.0,
        records: Sequence[dict] = (),
    ):
        """
        Args:
            is_train: draw clips with truth; otherwise take whole videos.
            augmentation: applied to the clip as a whole.
            num_frames: T of a training clip.
            frame_range: how far from a reference frame, in frames, the others are drawn.
            pairing: "time" or "released", see `MODEL.AUDIO.PAIRING`.
            sound_files: video id to the sound that is heard in place of its own; None: each its
                own.
            swapped_audio: chance that a training clip hears another video, one that shares no
                sounding name with it, so that nothing that is seen makes the sound: half of these
                clips in all frames, the others in some.
            records: of the data set, to choose that video from.

        Raises:
            ValueError: `pairing` is another word.
        """
        if pairing not in PAIRINGS:
            raise ValueError(f"MODEL.AUDIO.PAIRING is '{pairing}', expected one of {PAIRINGS}")
        self.is_train = is_train
        self.augmentation = augmentation
        self.num_frames = num_frames
        self.frame_range = frame_range
        self.pairing = pairing
        self.sound_files = sound_files
        self.swapped_audio = swapped_audio
        self.others = [r for r in records if r["audio_file"]]

    @classmethod
    def from_config(cls, cfg, is_train: bool, records: Sequence[dict] = ()):
        """Read the config; `records` are the data set's, for sounds of other videos."""
        return {
            "is_train": is_train,
            "augmentation": ClipAugmentation(build_augmentations(cfg, is_train)),
            "num_frames": cfg.INPUT.SAMPLING_FRAME_NUM,
            "frame_range": cfg.INPUT.SAMPLING_FRAME_RANGE,
            "pairing": cfg.MODEL.AUDIO.PAIRING,
            "sound_files": None if is_train else choose_sounds(records, cfg.TEST.AUDIO),
            "swapped_audio": cfg.INPUT.SWAPPED_AUDIO if is_train else 0.0,
            "records": records if is_train else (),
        }

    def __call__(self, record: dict) -> dict:
        indices = self._draw_frames(record) if self.is_train else range(len(record["file_names"]))
        frames = [read_frame(record["file_names"][i], record) for i in indices]
        transforms = self.augmentation.draw(frames[0])
        image = transform_frames(transforms, frames)
        audio, audio_valid = self._hear(record, record["audio_file"], indices)
        foreign, astray = self._draw_foreign(record, len(indices))
        if foreign:
            other, other_valid = self._hear(record, foreign["audio_file"], indices)
            audio[astray], audio_valid[astray] = other[astray], other_valid[astray]
        labels = record.get("label_files")
        clip = {
            "image": torch.from_numpy(image),
            "audio": torch.from_numpy(audio),
            "audio_valid": torch.from_numpy(audio_valid),
            "times": [record["times"][i] for i in indices],
            "height": record["height"],
            "width": record["width"],
            "file_names": [record["file_names"][i] for i in indices],
            "video_id": record["video_id"],
            "subset": record["subset"],
            "names": record["names"],
            "label_files": labels and [labels[i] for i in indices],
            "clip_seed": zlib.crc32(f"{record['video_id']}:{list(indices)}".encode()),
        }
        if self.is_train:
            labeled = _labeled(record)
            known = [labeled[i] or lost for i, lost in zip(indices, astray, strict=True)]
            clip["labeled"] = torch.tensor(known)  # where it is astray, nothing in it sounds
            clip["instances"] = _instances(record, indices, transforms, image.shape[2:], astray)
        return clip

    def _draw_foreign(self, record: dict, num_frames: int) -> tuple[dict | None, np.ndarray]:
        """Now and then another video, and which frames hear it in place of their own sound."""
        nowhere = np.zeros(num_frames, bool)
        if not self.others or np.random.random() >= self.swapped_audio:
            return None, nowhere
        start = np.random.randint(len(self.others))
        others = itertools.chain(self.others[start:], self.others[:start])
        length = len(record["times"])
        fitting = (r for r in others if _differ(r, record) and len(r["times"]) >= length)
        foreign = next(fitting, None)
        if foreign is None:
            return None, nowhere
        everywhere = np.random.random() < 0.5
        return foreign, everywhere | (np.random.random(num_frames) < 0.5)

    def _draw_frames(self, record: dict) -> list[int]:
        """Draw a frame with truth and others near it; sorted, repeated only if they are few."""
        labeled = np.flatnonzero(_labeled(record))
        if not len(labeled):
            raise ValueError(f"video '{record['video_id']}' has no frame with truth to train on")
        reference = int(np.random.choice(labeled))
        first = max(reference - self.frame_range, 0)
        last = min(reference + self.frame_range, len(record["file_names"]) - 1)
        near = [i for i in range(first, last + 1) if i != reference]
        wanted = self.num_frames - 1
        chosen = [reference]
        if wanted >= len(near):
            chosen += near
            chosen += np.random.choice(sorted(chosen), self.num_frames - len(chosen)).tolist()
        else:
            chosen += np.random.choice(near, wanted, replace=False).tolist()
        return sorted(chosen)

    def _hear(
        self, record: dict, path: str | None, indices: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """What the frames hear in a file: float32 (T, 16000), and bool (T,) whether it counts."""
        if self.sound_files is not None:
            path = self.sound_files[record["video_id"]]
        audio = np.zeros(0, np.float32) if path is None else read_audio(path)
        if self.pairing == "released":
            return released_examples(audio, indices)
        return seconds_at(audio, [record["times"][i] for i in indices]), np.ones(len(indices), bool)


def choose_sounds(records: Sequence[dict], sound: str) -> dict[str, str | None] | None:
    """Decide what is heard at test time.

    Args:
        records: of the data set, in its order.
        sound: "own"; "silence"; or "other", the next video (the first follows the last) that has
            sound and shares no sounding name.

    Returns:
        Video id to file (None: silence), or None for "own".

    Raises:
        ValueError: `sound` is another word, or a video has no such other.
    """
    if sound not in SOUNDS:
        raise ValueError(f"TEST.AUDIO is '{sound}', expected one of {SOUNDS}")
    if sound == "own":
        return None
    if sound == "silence":
        return {record["video_id"]: None for record in records}
    files = {}
    for i, record in enumerate(records):
        following = (*records[i + 1 :], *records[:i])
        other = next((r for r in following if r["audio_file"] and _differ(r, record)), None)
        if other is None:
            raise ValueError(
                f"TEST.AUDIO is 'other', but all sounds share a name with '{record['video_id']}'"
            )
        files[record["video_id"]] = other["audio_file"]
    return files


def _differ(a: dict, b: dict) -> bool:
    return not set(a["names"]) & set(b["names"])


def read_frame(path: str, record: dict) -> np.ndarray:
    """Read a frame, uint8 (height, width, 3) RGB, at the size that the record gives."""
    try:
        frame = d2_utils.read_image(path, format="RGB")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"'{path}': no such frame") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(f"'{path}': broken image ({error})") from error
    size = record["width"], record["height"]
    if frame.shape[1::-1] != size:
        frame = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR))
    return frame


def _labeled(record: dict) -> list[bool]:
    """Which of the L frames have truth."""
    files = record.get("label_files")
    if files is not None:
        return [file is not None for file in files]
    half = record["subset"] == SUBSETS[0]
    return [i == 0 or not half for i in range(len(record["file_names"]))]


def _instances(record: dict, indices: Sequence[int], transforms, size, astray) -> list[Instances]:
    """The clip's truth: per frame the same objects, those of which something is seen in it.

    In frames `astray`, which do not hear their own sound, no object is.
    """
    objects = record.get("annotations", [])
    masks = np.zeros((0, len(indices), *size), bool)
    if objects:
        masks = np.concatenate([_object_masks(a, record, indices) for a in objects])
        masks = transform_masks(transforms, masks).reshape(len(objects), len(indices), *size)
        masks[:, astray] = False
    seen = np.any(masks, axis=(1, 2, 3))
    objects = [annotation for annotation, s in zip(objects, seen, strict=True) if s]
    classes = torch.tensor([a["category_id"] - 1 for a in objects], dtype=torch.int64)
    ids = torch.tensor([a["id"] for a in objects], dtype=torch.int64)
    shown = torch.from_numpy(masks[seen])
    return [
        Instances(tuple(size), gt_classes=classes, gt_ids=ids, gt_masks=BitMasks(shown[:, t]))
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


def build_train_loader(cfg):
    """Detectron2's training loader over `DATASETS.TRAIN`: endless batches, each a list of clips."""
    records = get_detection_dataset_dicts(cfg.DATASETS.TRAIN, filter_empty=False)
    return build_detection_train_loader(
        ClipStream(records, AVSClipMapper(cfg, is_train=True, records=records)),
        mapper=None,
        sampler=StreamSampler(cfg.SEED),
        seed=0,  # a generator of its own, so that it draws nothing from the one of dropout
        total_batch_size=cfg.SOLVER.IMS_PER_BATCH,
        aspect_ratio_grouping=False,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )


def build_test_loader(cfg, dataset_name: str):
    """Detectron2's test loader: each video of a data set once, as a list of one."""
    records = get_detection_dataset_dicts(dataset_name, filter_empty=False)
    return build_detection_test_loader(
        records,
        mapper=AVSClipMapper(cfg, is_train=False, records=records),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )
