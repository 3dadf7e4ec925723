"""A CLAP that is built in a moment, in the files of `transformers`."""

import pytest
import torch


def write_clap(folder, safe=True):
    """Write a model with random weights, its feature extractor and a tokenizer of bytes."""
    transformers = pytest.importorskip("transformers")
    config = transformers.ClapConfig(
        text_config={
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "vocab_size": 300,
        },
        audio_config={
            "hidden_size": 16,
            "patch_embeds_hidden_size": 8,
            "depths": [1, 1],
            "num_attention_heads": [1, 1],
            "num_hidden_layers": 2,
            "window_size": 4,
            "patch_size": 16,
            "patch_stride": [16, 16],
            "mlp_ratio": 1.0,
        },
        projection_dim=12,
    )
    torch.manual_seed(0)
    model = transformers.ClapModel(config)
    model.save_pretrained(folder)
    if not safe:
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    extractor = transformers.ClapFeatureExtractor(
        frequency_min=50, truncation="rand_trunc", padding="repeatpad"
    )
    extractor.save_pretrained(folder)
    _tokenizer(transformers).save_pretrained(folder)
    return model.eval()


def _tokenizer(transformers):
    from tokenizers.pre_tokenizers import ByteLevel

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokens = [*special, *sorted(ByteLevel.alphabet())]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    return transformers.RobertaTokenizer(vocab=vocabulary, merges=[])
