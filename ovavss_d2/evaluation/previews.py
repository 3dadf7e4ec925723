"""Videos and training clips with their truth, to look at."""

from typing import Any

import numpy as np

from ovavss_d2.data.mapper import read_frame
from ovavss_d2.data.preview import Glance
from ovavss_d2.evaluation.truth import true_frames
from ovavss_d2.media.audio import read_audio


def glance_at_video(record: dict, metadata: Any) -> Glance:
    """Take a whole video of a data set, and look for what is wrong with it.

    Args:
        record: as the catalog hands it out.
        metadata: the data set's entry of `MetadataCatalog`.
    """
    truth = dict(true_frames(record, metadata))
    path = record["audio_file"]
    audio = np.zeros(0, np.float32) if path is None else read_audio(path)
    numbers = {int(i) for ids in truth.values() for i in np.unique(ids)} - {0}
    drawn: set[str] = {metadata.names[i - 1] for i in numbers}
    named = set(record["names"])
    faults = {
        "no sound file": path is None,
        "the sound is digital silence": path is not None and not audio.any(),
        f"named but never drawn: {', '.join(sorted(named - drawn))}": truth and named - drawn,
        f"drawn but not named: {', '.join(sorted(drawn - named))}": drawn - named,
        "no truth": not truth,
    }
    sounding = ", ".join(record["names"]) or "nothing"
    return Glance(
        caption=f"{record['video_id']} ({record['subset']}): {sounding}",
        faults=tuple(fault for fault, present in faults.items() if present),
        frames=[read_frame(file, record) for file in record["file_names"]],
        ids=[truth.get(i) for i in range(len(record["file_names"]))],
        audio=audio,
        times=record["times"],
    )


def glance_at_clip(clip: dict) -> Glance:
    """Take a training clip as `AVSClipMapper` makes it, its frames where what they hear starts."""
    ids = []
    for frame, labeled in zip(clip["instances"], clip["labeled"], strict=True):
        painted = np.zeros(frame.image_size, np.uint8)
        for category, mask in zip(frame.gt_classes, frame.gt_masks.tensor.numpy(), strict=True):
            painted[mask] = int(category) + 1
        ids.append(painted if labeled else None)
    times = ", ".join(f"{time:g}" for time in clip["times"])
    return Glance(
        caption=f"{clip['video_id']} ({clip['subset']}), frames at {times} s",
        faults=(),
        frames=list(clip["image"].numpy().transpose(0, 2, 3, 1)),
        ids=ids,
        audio=clip["audio"].flatten().numpy(),
        times=list(range(len(ids))),
    )
