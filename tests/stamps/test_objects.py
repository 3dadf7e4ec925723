"""The list of the stamps data set's objects."""

from collections import Counter

from ovavss_d2.data.catalog import MetadataCatalog
from ovavss_d2.stamps.objects import OBJECTS, ids_of
from ovavss_d2.vocabulary import STAMPS_BASE_IDS, STAMPS_NAMES, parse_vocabulary, unique_names


def test_there_are_fifty_base_and_twenty_novel_names_and_many_silent_objects():
    kinds = Counter(item.kind for item in OBJECTS)
    assert kinds.keys() == {"base", "novel", "silent"}
    assert kinds["base"] >= 50 and kinds["novel"] >= 20 and kinds["silent"] > 150
    assert len(OBJECTS) < 256  # ids are uint8


def test_names_come_first_and_silent_objects_have_neither_name_nor_sound():
    assert ids_of("base", "novel") == tuple(range(1, len(STAMPS_NAMES) + 1))
    assert all(bool(item.sound) == (item.kind != "silent") for item in OBJECTS)
    assert ids_of("base") == STAMPS_BASE_IDS
    words = {word for name in STAMPS_NAMES for word in name.split("|")}
    assert not words & {item.name for item in OBJECTS if item.kind == "silent"}


def test_no_picture_or_sound_is_used_twice():
    pictures = [item.picture for item in OBJECTS]
    sounds = [item.sound for item in OBJECTS if item.sound]
    assert len(set(pictures)) == len(pictures) and len(set(sounds)) == len(sounds)
    assert len({item.name for item in OBJECTS}) == len(OBJECTS)


def test_novel_names_are_of_several_kinds():
    folders = {item.picture.split("/")[0] for item in OBJECTS if item.kind == "novel"}
    assert folders == {"animals", "hobbies", "household", "vehicles"}


def test_the_vocabulary_and_the_registered_data_sets_have_the_names():
    assert parse_vocabulary("stamps") == unique_names(STAMPS_NAMES, "the list") == STAMPS_NAMES
    for name in ("train_base", "val_base", "test_all", "test_base", "test_novel_sounding"):
        metadata = MetadataCatalog.get(f"stamps_ov_{name}")
        assert tuple(metadata.names) == STAMPS_NAMES
        assert tuple(metadata.base_ids) == STAMPS_BASE_IDS
