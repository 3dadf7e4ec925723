"""Cached embeddings: equal to computed ones, never stale, and safe to share and to delete."""

import copy
import logging
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from ovavss_d2.modeling import embedding_cache
from ovavss_d2.modeling.audio_encoder import LogMelEncoder, VGGish, attach_cache
from ovavss_d2.modeling.embedding_cache import EmbeddingCache, fingerprint
from tests.helpers.small import small_config

VECTORS = torch.arange(12.0).view(4, 3)
ITEMS = [fingerprint({}, name) for name in ("cat", "dog", "hair dryer/é", "")]


@pytest.fixture
def cache(tmp_path):
    return EmbeddingCache(tmp_path / "cache")


@pytest.fixture
def sounds():
    return 0.1 * torch.randn(4, 16000)


def small_encoder(freeze=True, cache=None):
    encoder = LogMelEncoder(width=4, output_dim=8, freeze=freeze)
    encoder.cache = cache
    return encoder


@pytest.fixture
def cached(cache):
    return small_encoder(cache=cache)


def compute(indices):
    return VECTORS[indices]


def entries(cache):
    return sorted(path for path in cache.folder.rglob("*") if path.is_file())


def without_cache(encoder, *inputs):
    copied = copy.deepcopy(encoder)
    copied.cache = None
    return copied(*inputs)


def test_entries_are_found_by_model_and_item(cache):
    calls = []

    def counted(indices):
        calls.append(indices)
        return compute(indices)

    assert torch.equal(cache.lookup("model", ITEMS[:2], 3, counted), VECTORS[:2])
    assert torch.equal(cache.lookup("model", ITEMS, 3, counted), VECTORS)
    repeated = [ITEMS[i] for i in (3, 0, 3)]
    other = cache.lookup("other", repeated, 3, lambda indices: VECTORS[[3, 0]])
    assert torch.equal(other, VECTORS[[3, 0, 3]])
    assert calls == [[0, 1], [2, 3]] and (cache.hits, cache.misses) == (2, 6)


def test_concurrent_writers_leave_complete_entries(tmp_path, monkeypatch):
    """Threads in place of processes: the names of temporary files contain the process id."""
    monkeypatch.setattr(os, "getpid", threading.get_ident)
    caches = [EmbeddingCache(tmp_path / "cache") for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(cache.lookup, "model", ITEMS, 3, compute) for cache in caches]
        assert all(torch.equal(job.result(), VECTORS) for job in jobs)
    assert len(entries(caches[0])) == 4


def test_deleted_and_corrupted_entries_are_computed_again(cache, caplog):
    cache.lookup("model", ITEMS, 3, compute)
    files = entries(cache)
    contents = [path.read_bytes() for path in files]
    files[0].unlink()
    files[1].write_bytes(contents[1][:-1])
    files[2].write_bytes(b"\1" * len(contents[2]))
    files[3].write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        assert torch.equal(cache.lookup("model", ITEMS, 3, compute), VECTORS)
    assert [str(path) in caplog.text for path in files] == [False, True, True, True]
    assert [path.read_bytes() for path in files] == contents and cache.misses == 8
    shutil.rmtree(cache.folder)
    assert torch.equal(cache.lookup("model", ITEMS, 3, compute), VECTORS)
    assert entries(cache) == files


def test_a_full_disk_costs_only_the_entries_and_one_warning(cache, monkeypatch, caplog):
    def full(path, **_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(embedding_cache, "atomic_path", full)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(cache.lookup("model", ITEMS, 3, compute), VECTORS)
    assert len(caplog.records) == 1 and "No space left" in caplog.text


def test_a_fingerprint_differs_with_each_tensor_and_fact():
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


@pytest.mark.parametrize("build", [small_encoder, VGGish])
def test_audio_embeddings_are_equal_to_the_last_bit_in_any_batch(build, cache, sounds):
    encoder = build(freeze=True)
    expected = encoder(sounds)
    assert torch.equal(torch.cat([encoder(sound[None]) for sound in sounds]), expected)
    encoder.cache = cache
    assert torch.equal(encoder(sounds), expected)  # computed
    assert torch.equal(encoder(sounds[[2, 0]]), expected[[2, 0]])  # read, in another batch
    assert (cache.hits, cache.misses) == (2, 4)


def test_each_sound_is_computed_once(cached, sounds, monkeypatch):
    calls, encode = [], cached.encode
    monkeypatch.setattr(cached, "encode", lambda log_mel: calls.append(1) or encode(log_mel))
    for batch in (sounds[:3], sounds, sounds[[1, 1]]):
        cached(batch)
    cached.cache = EmbeddingCache(cached.cache.folder)  # as in another process
    cached(sounds)
    assert len(calls) == 4 and cached.cache.hits == 4


def test_other_samples_and_invalid_sounds_are_other_entries(cached, sounds):
    cached(sounds)
    changed = sounds.clone()
    changed[2, 15000] += 1e-3
    assert torch.equal(cached(changed), without_cache(cached, changed))
    assert cached.cache.misses == 5
    valid = torch.tensor([True, False, True, False])
    assert torch.equal(cached(sounds, valid), without_cache(cached, sounds, valid))
    assert cached.cache.misses == 7


def test_other_weights_are_another_model(cached, sounds):
    before = cached(sounds)
    other = small_encoder()
    cached.load_state_dict(other.state_dict())
    after = cached(sounds)
    assert torch.equal(after, other(sounds)) and not torch.equal(after, before)
    with torch.no_grad():
        cached.embedding[0].bias += 1
    assert torch.equal(cached(sounds), without_cache(cached, sounds))
    assert len(list(cached.cache.folder.iterdir())) == 3


@pytest.mark.parametrize(("freeze", "folder"), [(True, "x"), (False, "x"), (True, "")])
def test_only_frozen_encoders_have_a_cache(freeze, folder):
    encoder = small_encoder(freeze)
    attach_cache(encoder, small_config(EMBEDDING_CACHE=folder))
    assert (encoder.cache is not None) == (freeze and folder != "")
