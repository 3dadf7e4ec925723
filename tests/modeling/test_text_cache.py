"""Text embeddings on disk: found again, never stale, and never in the way."""

import logging
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from ovavss_d2.modeling.text_cache import TextCache, fingerprint


@pytest.fixture
def cache(tmp_path):
    return TextCache(tmp_path / "cache")


def test_vectors_come_back_by_key_and_name(cache):
    vectors = {"cat": torch.rand(4), "hair dryer/é": torch.rand(4)}
    cache.add("model", vectors)
    found = cache.find("model", ["hair dryer/é", "cow", "cat"])
    assert found.keys() == vectors.keys()
    assert all(torch.equal(found[name], vectors[name]) for name in vectors)
    assert not cache.find("other model", ["cat"]) and not cache.find("model", [])


def test_writers_at_the_same_time_lose_nothing(cache):
    vectors = {str(i): torch.full((3,), float(i)) for i in range(40)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda item: cache.add("k", dict([item])), vectors.items()))
    found = cache.find("k", vectors)
    assert len(found) == 40 and all(torch.equal(found[n], v) for n, v in vectors.items())


def test_it_can_be_deleted_at_any_time(cache):
    cache.add("k", {"cat": torch.rand(3)})
    shutil.rmtree(cache.folder)
    assert not cache.find("k", ["cat"])
    cache.add("k", {"cat": torch.rand(3)})
    assert cache.find("k", ["cat"])


def test_nothing_to_add_writes_nothing(cache):
    cache.add("k", {})
    assert not cache.folder.exists()


def broken_files():
    good = {"names": np.array(["cat"]), "vectors": np.ones((1, 3), np.float32)}
    return {
        "empty": b"",
        "no archive": b"text",
        "other arrays": {"x": np.ones(3)},
        "pickled": {**good, "names": np.array(["cat"], object)},
        "too few": {**good, "names": np.array(["cat", "dog"])},
        "not finite": {**good, "vectors": np.full((1, 3), np.nan, np.float32)},
        "flat": {**good, "vectors": np.ones(1, np.float32)},
    }


@pytest.mark.parametrize("kind", broken_files())
def test_a_broken_file_is_passed_over_with_a_warning(cache, kind, caplog):
    cache.add("k", {"dog": torch.rand(3)})
    path, content = cache.folder / "k" / "0.npz", broken_files()[kind]
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, **content)
    with caplog.at_level(logging.WARNING):
        assert cache.find("k", ["cat", "dog"]).keys() == {"dog"}
    assert [str(path) in record.getMessage() for record in caplog.records] == [True]


def test_a_folder_that_cannot_be_written_is_only_a_warning(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        TextCache(tmp_path / "file").add("k", {"cat": torch.rand(3)})
    assert len(caplog.records) == 1 and "not kept" in caplog.text


def test_unfinished_files_are_not_read(cache):
    cache.add("k", {"cat": torch.rand(3)})
    (path,) = (cache.folder / "k").iterdir()
    path.rename(path.with_name(".half.1.partial.npz"))
    assert not cache.find("k", ["cat"])


def test_a_fingerprint_tells_weights_and_facts_apart():
    a, b = torch.rand(2, 3), torch.rand(3)
    same = fingerprint({"a": a, "b": b}, "x")
    assert fingerprint({"b": b, "a": a.clone()}, "x") == same
    others = [
        fingerprint({"a": a + 1e-3, "b": b}, "x"),
        fingerprint({"a": a.t(), "b": b}, "x"),
        fingerprint({"a": a.half(), "b": b}, "x"),
        fingerprint({"c": a, "b": b}, "x"),
        fingerprint({"a": a, "b": b}, "y"),
    ]
    assert same not in others and len(set(others)) == 5
