import torch
from small import disturb

from adaqual_core.kinds import KINDS
from adaqual_core.networks.kind_prompts import POOLS, KindPrompts
from adaqual_core.networks.prompt_attention import Guidance, PromptAttention

POOLED = 2  # global tokens


def tokens(seed=0):
    """Prompts of two global tokens and eight in each pool, with random weights."""
    torch.manual_seed(seed)
    module = KindPrompts(16, POOLED, 8).eval()
    for values in (module.global_prompt, module.pool, module.keys):
        torch.nn.init.normal_(values, std=0.5)
    return module


def attention(gate=1.0, seed=0):
    torch.manual_seed(seed)
    module = PromptAttention(12, 16, 4).eval()
    disturb(module, 0.1, seed)
    with torch.no_grad():
        module.gate.fill_(gate)
    return module


def guidance(severity, length, kinds=None, module=None):
    kinds = 0.5 * severity.expand(-1, len(KINDS), -1, -1) if kinds is None else kinds
    return (module or tokens())(severity, kinds, length, torch.linspace(-1, 1, 16)[None])


def test_shapes_and_shared_tokens():
    found = guidance(torch.rand(1, 1, 3, 5), torch.full((1, 1, 3, 5), 4.0))
    assert found.tokens.shape == (1, POOLED + POOLS * 8, 16)
    assert found.bias.shape == (1, POOLED + POOLS * 8, 3, 5)
    assert (found.bias[:, :POOLED] == 0).all()  # the global prompt is open to every cell


def test_longer_prompts_open_more_tokens():
    half = torch.full((1, 1, 1, 1), 0.5)
    weight = [guidance(half, torch.full((1, 1, 1, 1), n)).bias.exp()[:, POOLED:].sum() for n in (1.0, 4.0, 8.0)]
    assert weight[0] < weight[1] < weight[2]


def test_length_weights_are_the_soft_step():
    found = guidance(torch.full((1, 1, 1, 1), 0.5), torch.full((1, 1, 1, 1), 5.0))
    kept = found.bias[0, POOLED:, 0, 0].view(POOLS, 8)
    expected = torch.nn.functional.logsigmoid(5.0 - torch.arange(8) - 0.5)
    pools = kept - expected
    assert torch.allclose(pools, pools[:, :1].expand_as(pools), atol=1e-5)
    assert torch.allclose(pools[:, 0].exp().sum(), torch.tensor(1.0), atol=1e-5)  # pool weights are a softmax


def test_gradients_reach_severity_and_length():
    severity = torch.full((1, 1, 2, 2), 0.4, requires_grad=True)
    length = torch.full((1, 1, 2, 2), 3.7, requires_grad=True)
    attention()(torch.randn(1, 12, 2, 2), guidance(severity, length)).square().sum().backward()
    assert (severity.grad.abs() > 0).all() and (length.grad.abs() > 0).all()


def test_zero_gate_is_the_identity():
    x = torch.randn(1, 12, 4, 4)
    bias = guidance(torch.rand(1, 1, 4, 4), torch.full((1, 1, 4, 4), 4.0))
    assert torch.equal(attention(gate=0.0)(x, bias), x)
    assert not torch.allclose(attention(gate=1.0)(x, bias), x, atol=1e-3)
    assert (PromptAttention(12, 16, 4).gate == 0).all()


def test_a_cell_depends_on_its_own_severity_only():
    x, module, pool = torch.randn(1, 12, 4, 4), attention(), tokens()
    severity, length = torch.rand(1, 1, 4, 4) * 0.5, torch.full((1, 1, 4, 4), 4.0)
    changed, longer = severity.clone(), length.clone()
    changed[..., 1, 2] = 0.9
    longer[..., 1, 2] = 7.0
    before = module(x, guidance(severity, length, module=pool))
    after = module(x, guidance(changed, longer, module=pool))
    different = (before - after).abs().amax(1)[0] > 1e-6
    assert different[1, 2] and different.sum() == 1


def test_flat_maps_of_worst_and_best_quality_give_different_prompts():
    x, module, pool = torch.randn(1, 12, 4, 4), attention(), tokens()
    worst = module(x, guidance(torch.ones(1, 1, 4, 4), torch.full((1, 1, 4, 4), 8.0), module=pool))
    best = module(x, guidance(torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4), module=pool))
    assert (worst - best).abs().max() > 1e-3


def test_finer_features_share_the_bias_of_their_cell():
    module, pool = attention(), tokens()
    x = torch.randn(1, 12, 1, 1).expand(1, 12, 4, 4)
    found = module(x, guidance(torch.tensor([[[[0.1, 0.9], [0.9, 0.1]]]]), torch.full((1, 1, 2, 2), 4.0), module=pool))
    assert torch.allclose(found[..., 0, 0], found[..., 1, 1], atol=1e-6)
    assert torch.allclose(found[..., 0, 0], found[..., 3, 3], atol=1e-6)
    assert not torch.allclose(found[..., 0, 0], found[..., 0, 3], atol=1e-4)


def test_attention_against_its_formula():
    module = attention()
    x, pool = torch.randn(1, 12, 1, 2), torch.randn(1, 5, 16)
    bias = torch.randn(1, 5, 1, 2)
    found = module(x, Guidance(pool, bias))
    features = x[0, :, 0].T
    query = module.query(module.norm(features)).view(2, 4, 3)
    key, value = module.key_value(module.prompt_norm(pool[0])).view(5, 2, 4, 3).unbind(1)
    logits = torch.einsum("chd,nhd->chn", query, key) / 3**0.5 + bias[0, :, 0].T[:, None]
    seen = torch.einsum("chn,nhd->chd", logits.softmax(-1), value).reshape(2, 12)
    expected = features + module.out(seen) * module.gate
    assert torch.allclose(found[0, :, 0].T, expected, atol=1e-5)
