"""Cached embeddings of sounds: the same numbers as without, never stale, safe to share."""

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from ovavss_d2.modeling import audio_cache
from ovavss_d2.modeling.audio_cache import AudioFeatureCache
from ovavss_d2.modeling.audio_encoder import LogMelEncoder, VGGish, attach_cache
from tests.helpers.small import small_config


@pytest.fixture
def sounds():
    return 0.1 * torch.randn(4, 16000)


@pytest.fixture
def encoder():
    return LogMelEncoder(width=4, output_dim=8, freeze=True)


@pytest.fixture
def cached(encoder, tmp_path):
    encoder.cache = AudioFeatureCache(tmp_path / "cache")
    return encoder


def entries(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def without_cache(encoder, *inputs):
    cache, encoder.cache = encoder.cache, None
    try:
        return encoder(*inputs)
    finally:
        encoder.cache = cache


@pytest.mark.parametrize("kind", ["LogMelEncoder", "VGGish"])
def test_numbers_are_the_same_to_the_last_bit_with_and_without(kind, sounds, tmp_path):
    encoder = VGGish() if kind == "VGGish" else LogMelEncoder(width=4, output_dim=8, freeze=True)
    plain = encoder(sounds)
    encoder.cache = AudioFeatureCache(tmp_path / "cache")
    assert torch.equal(encoder(sounds), plain)  # computed
    assert torch.equal(encoder(sounds[[2, 0]]), plain[[2, 0]])  # looked up, in another batch
    assert (encoder.cache.hits, encoder.cache.misses) == (2, 4)


def test_a_frozen_embedding_does_not_depend_on_its_batch(encoder, sounds):
    whole = encoder(sounds)
    assert torch.equal(torch.cat([encoder(sound[None]) for sound in sounds]), whole)


def test_each_sound_is_computed_once(cached, sounds, monkeypatch):
    seen = []
    encode = cached.encode
    monkeypatch.setattr(cached, "encode", lambda log_mel: seen.append(1) or encode(log_mel))
    for batch in (sounds[:3], sounds, sounds[[1, 1]]):
        cached(batch)
    assert len(seen) == 4
    fresh = AudioFeatureCache(cached.cache.folder)  # another process
    cached.cache = fresh
    cached(sounds)
    assert len(seen) == 4 and fresh.hits == 4


def test_other_samples_are_another_sound(cached, sounds):
    cached(sounds)
    changed = sounds.clone()
    changed[2, 15000] += 1e-3
    assert torch.equal(cached(changed), without_cache(cached, changed))
    assert cached.cache.misses == 5


def test_a_sound_that_does_not_count_is_another_entry(cached, sounds):
    valid = torch.tensor([True, False, True, False])
    cached(sounds)
    assert torch.equal(cached(sounds, valid), without_cache(cached, sounds, valid))


def test_other_weights_are_another_encoder(cached, sounds):
    before = cached(sounds)
    other = LogMelEncoder(width=4, output_dim=8, freeze=True)
    cached.load_state_dict(other.state_dict())
    after = cached(sounds)
    assert torch.equal(after, other(sounds)) and not torch.equal(after, before)
    with torch.no_grad():
        cached.embedding[0].bias += 1
    assert torch.equal(cached(sounds), without_cache(cached, sounds))
    assert len(list(cached.cache.folder.iterdir())) == 3


def test_entries_may_be_deleted_or_spoilt_at_any_time(cached, sounds):
    plain = cached(sounds)
    files = entries(cached.cache.folder)
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:-9])
    files[2].write_bytes(b"\0" * files[2].stat().st_size)
    assert torch.equal(cached(sounds), plain)
    assert cached.cache.misses == 4 + 3
    shutil.rmtree(cached.cache.folder)
    assert torch.equal(cached(sounds), plain)
    assert [path.name for path in entries(cached.cache.folder)] == [path.name for path in files]


def test_many_writers_leave_whole_entries(encoder, sounds, tmp_path, monkeypatch):
    """Threads stand for processes: what is half-written carries the process's number."""
    monkeypatch.setattr(os, "getpid", threading.get_ident)
    plain = encoder(sounds)
    with ThreadPoolExecutor(8) as pool:
        caches = [AudioFeatureCache(tmp_path / "cache") for _ in range(8)]
        jobs = [
            pool.submit(cache.embed, encoder, sounds, None, lambda i: plain[i]) for cache in caches
        ]
        assert all(torch.equal(job.result(), plain) for job in jobs)
    assert len(entries(tmp_path / "cache")) == 4


def test_a_full_disk_costs_only_the_entries(cached, sounds, monkeypatch, caplog):
    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(audio_cache, "atomic_path", full)
    assert torch.equal(cached(sounds), without_cache(cached, sounds))
    assert "No space left" in caplog.text


def test_a_trained_encoder_cannot_have_one(encoder, tmp_path):
    cfg = small_config(AUDIO__CACHE=str(tmp_path))
    attach_cache(encoder, cfg)
    assert encoder.cache.folder == tmp_path
    trained = LogMelEncoder(width=4, output_dim=8)
    with pytest.raises(ValueError, match="the encoder is trained: set MODEL.AUDIO.FREEZE True"):
        attach_cache(trained, cfg)
    attach_cache(trained, small_config())
    assert trained.cache is None
