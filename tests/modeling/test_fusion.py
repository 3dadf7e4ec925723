"""Early fusion: the folded attention equals plain attention."""

import pytest
import torch

from ovavss_d2.modeling.fusion import AudioVisualFusion


def make_fusion(**changes):
    sizes = {"visual_dim": 12, "audio_dim": 10, "embed_dim": 16, "num_heads": 4, "dropout": 0.0}
    fusion = AudioVisualFusion(**{**sizes, **changes}).double()
    for p in fusion.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return fusion


def plain_attention(fusion, visual, audio):
    """Both attentions with all projections; the audio is a sequence of one token."""
    heads = fusion.num_heads
    visual, audio = fusion.layer_norm_v(visual), fusion.layer_norm_l(audio)[:, None]

    def split(x):
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)

    query = split(fusion.v_proj(visual))
    query = query * query.shape[-1] ** -0.5
    similarity = query @ split(fusion.l_proj(audio)).transpose(-1, -2)  # (N, J, L, 1)
    similarity = similarity.clamp(-50000, 50000)
    to_visual = similarity.softmax(-1) @ split(fusion.values_l_proj(audio))
    transposed = similarity.transpose(-1, -2)
    to_audio = (transposed - transposed.amax(-1, keepdim=True)).softmax(-1)
    to_audio = to_audio @ split(fusion.values_v_proj(visual))
    to_visual = fusion.out_v_proj(to_visual.transpose(1, 2).flatten(2))
    to_audio = fusion.out_l_proj(to_audio.transpose(1, 2).flatten(2))
    return visual + fusion.gamma_v * to_visual, (audio + fusion.gamma_l * to_audio)[:, 0]


def inputs(n=3, tokens=7):
    visual = torch.randn(n, tokens, 12, dtype=torch.float64, requires_grad=True)
    audio = torch.randn(n, 10, dtype=torch.float64, requires_grad=True)
    return visual, audio


@pytest.mark.parametrize("tokens", [1, 7])
def test_equals_plain_attention_with_its_gradients(tokens):
    fusion, (visual, audio) = make_fusion(), inputs(tokens=tokens)
    variables = [visual, audio, *fusion.parameters()]
    gradients = []
    for outputs in (fusion(visual, audio), plain_attention(fusion, visual, audio)):
        total = sum((x * torch.arange(x.numel()).view_as(x)).sum() for x in outputs)
        gradients.append((*outputs, *torch.autograd.grad(total, variables)))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_huge_similarities_stay_finite():
    fusion, (visual, audio) = make_fusion(), inputs()
    with torch.no_grad():
        fusion.v_proj.weight.mul_(1e6)
    ours = fusion(visual, audio)
    assert all(x.isfinite().all() for x in ours)
    torch.testing.assert_close(ours, plain_attention(fusion, visual, audio))


def test_dropout_keeps_the_mean():
    fusion, (visual, audio) = make_fusion(dropout=0.3), inputs(n=1)
    expected = fusion.eval()(visual, audio)
    fusion.train()
    draws = [fusion(visual, audio) for _ in range(2000)]
    assert not torch.equal(draws[0][0], draws[1][0])
    assert not torch.equal(draws[0][1], draws[1][1])
    for i in range(2):
        mean = torch.stack([draw[i] for draw in draws]).mean(0)
        torch.testing.assert_close(mean, expected[i], rtol=0.1, atol=0.1)


def test_a_width_that_heads_do_not_divide_is_an_error():
    with pytest.raises(ValueError, match="EMBED_DIM 16"):
        make_fusion(num_heads=3)
