"""Small folders in AVSBench-semantic's and AVSBench-OV's formats, with the real names."""

import csv
import json
import shutil

import numpy as np
from PIL import Image
from scipy.io import wavfile

from ovavss_d2.data.avsbench import FRAMES_OF_SUBSET
from ovavss_d2.data.split_lists import DERIVED_FILES, derived_lists, write_lists
from ovavss_d2.vocabulary import AVSBENCH_BASE_IDS, AVSBENCH_NAMES, voc_palette

SIZE = (24, 32)  # height, width


def write_wav(path, samples, rate=16000):
    """Write int16 (S,) or (S, channels)."""
    wavfile.write(path, rate, np.asarray(samples, np.int16))


class Tree:
    """AVSBench-semantic's folder: every class of a video is a box that moves to the right."""

    def __init__(self, root):
        self.root = root
        self.rows = []
        root.mkdir(parents=True)
        ids = {"background": 0} | {name: i for i, name in enumerate(AVSBENCH_NAMES, start=1)}
        (root / "label2idx.json").write_text(json.dumps(ids))

    def add(self, uid, subset="v2", split="train", names=("dog",), silent=()):
        """Write a video; `silent` classes are in the label images but not in the metadata."""
        self.rows.append((uid[:11], uid, 0, 0, "_".join(names), split, subset))
        folder = self.root / subset / uid
        (folder / "frames").mkdir(parents=True)
        (folder / "labels_rgb").mkdir()
        random = np.random.default_rng(len(self.rows))
        for i in range(FRAMES_OF_SUBSET[subset]):
            frame = random.integers(0, 255, (*SIZE, 3), np.uint8)
            Image.fromarray(frame).save(folder / f"frames/{i}.jpg")
            if subset != "v1s" or split != "train" or i == 0:
                label = voc_palette(71)[self.labels(i, (*names, *silent))]
                Image.fromarray(label).save(folder / f"labels_rgb/{i}.png")
        write_wav(folder / "audio.wav", random.normal(0, 2000, FRAMES_OF_SUBSET[subset] * 16000))
        self.write_metadata()
        return folder

    @staticmethod
    def labels(i, names):
        """Class ids (H, W) of frame i."""
        ids = np.zeros(SIZE, np.int64)
        for row, name in enumerate(names):
            ids[2 + 7 * row : 7 + 7 * row, 3 + i : 12 + i] = AVSBENCH_NAMES.index(name) + 1
        return ids

    def write_metadata(self):
        """Write metadata.csv for the videos so far."""
        with open(self.root / "metadata.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["vid", "uid", "s_min", "s_sec", "a_obj", "split", "label"])
            writer.writerows(self.rows)


def fill(tree):
    """Write videos: base names are dog, man, cat; novel ones leopard and harp."""
    tree.add("half", "v1s", "train", ["dog"])
    tree.add("two", "v1m", "train", ["dog", "man"], silent=["cat"])
    tree.add("long", "v2", "train", ["cat"])
    tree.add("unfit", "v2", "train", ["man", "leopard"])
    tree.add("val_base", "v1s", "val", ["man"])
    tree.add("val_novel", "v2", "val", ["harp"])
    tree.add("test_base", "v1s", "test", ["dog", "cat"])
    tree.add("test_novel", "v1m", "test", ["leopard"])
    tree.add("test_mixed", "v2", "test", ["man", "harp"])
    return tree


def prepare(folder):
    """Write such a tree and its derived split to `folder`, a folder of data sets."""
    tree = fill(Tree(folder / "AVSBench-semantic"))
    lists = derived_lists(folder / "AVSBench-derived", AVSBENCH_NAMES, AVSBENCH_BASE_IDS)
    write_lists(tree.root, lists, AVSBENCH_NAMES)
    return folder


def publish(datasets):
    """Add AVSBench-OV's folder, in its published format, to prepared data sets; return it."""
    folder = datasets / "AVSBench-openvoc"
    for split, videos in {
        "train": ("v1s/half", "v1m/two", "v2/long"),
        "val": ("v1s/val_base",),
        "test": ("v1s/test_base", "v2/test_mixed"),
    }.items():
        for video in videos:
            images = folder / split / "JPEGImages" / video.split("/")[1]
            shutil.copytree(datasets / "AVSBench-semantic" / video / "frames", images)
    for split, name in (("train", "train_base"), ("val", "val_base_novel")):
        content = json.loads((datasets / "AVSBench-derived" / DERIVED_FILES[split]).read_text())
        for video in content["videos"]:
            for key in ("names", "times", "audio_file", "label_files"):
                video.pop(key)
            uid = video.pop("name")
            video["file_names"] = [f"{uid}/{i}.jpg" for i in range(video["length"])]
        (folder / f"avsbench_ov_{name}.json").write_text(json.dumps(content))
    return folder
