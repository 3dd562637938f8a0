"""The network of DeQA-Score: against the authors' implementation, and its shortcuts against the plain pass."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn as nn
from safetensors import safe_open
from safetensors.torch import save_file
from small_deqa import CONFIG, PROMPT, network, pixels, scorer
from transformers import LlamaConfig, LlamaForCausalLM

from adaqual_core.errors import CheckpointError, NumericalError
from adaqual_core.quality.deqa.config import parse_config
from adaqual_core.quality.deqa.golden import check_deqa
from adaqual_core.quality.deqa.network import DeqaNet, Prompt, scores_from_logits, streamed

GOLDEN = Path(__file__).parent / "golden" / "deqa_a.safetensors"

NET = network()


def plain_levels(net: DeqaNet, batch: torch.Tensor) -> torch.Tensor:
    images = net.image_tokens(net.vision_tokens([batch]))[0]
    return net.all_logits(images, PROMPT)[:, -1, list(PROMPT.levels)]


def test_equals_the_authors_implementation():
    errors = check_deqa(GOLDEN)
    assert set(errors) == {"vision", "abstractor", "logits_last", "score"}
    assert max(errors.values()) < 1e-5  # demanded: 1e-4


def _changed(tmp_path, change, **header):
    with safe_open(GOLDEN, "pt") as file:
        metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}
    change(tensors)
    save_file(tensors, tmp_path / "changed.safetensors", {**metadata, **header})
    return tmp_path / "changed.safetensors"


@pytest.mark.parametrize(
    "key, fails",
    [
        ("weights.model.vision_model.encoder.layers.1.self_attn.dense.weight", "vision"),
        ("weights.model.visual_abstractor.encoder.layers.0.crossattention.attention.k_pos_embed", "abstractor"),
        ("weights.model.layers.0.self_attn.k_proj.multiway.1.weight", "logits_last"),
        ("weights.model.layers.2.input_layernorm.multiway.0.weight", "logits_last"),
        ("out.score", "score"),
    ],
)
def test_the_comparison_can_fail(tmp_path, key, fails):
    errors = check_deqa(_changed(tmp_path, lambda tensors: tensors[key].mul_(1.2)))
    assert errors[fails] > 1e-4


def test_the_prompts_of_a_golden_file_may_differ_by_row(tmp_path):
    def change(tensors):
        row = tensors["in.input_ids"][1]
        tensors["in.input_ids"][1] = torch.cat([row[:5], row[7:8], row[5:7], row[8:]])

    errors = check_deqa(_changed(tmp_path, change))
    assert errors["abstractor"] < 1e-5 and 1e-4 < errors["score"] < float("inf")


def test_damaged_golden_files_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="weights do not fit"):
        check_deqa(_changed(tmp_path, lambda tensors: tensors.pop("weights.model.norm.weight")))
    with pytest.raises(CheckpointError, match="in.pixel_values"):
        check_deqa(_changed(tmp_path, lambda tensors: tensors.pop("in.pixel_values")))
    with pytest.raises(CheckpointError, match="unknown output other"):
        check_deqa(_changed(tmp_path, lambda tensors: tensors.update({"out.other": torch.zeros(1)})))
    with pytest.raises(CheckpointError, match="exactly once"):
        check_deqa(_changed(tmp_path, lambda tensors: tensors["in.input_ids"].fill_(1)))
    broken = _changed(tmp_path, lambda tensors: tensors["out.score"].fill_(float("nan")))
    assert check_deqa(broken)["score"] == float("inf")
    with pytest.raises(CheckpointError, match="visual_model"):
        check_deqa(_changed(tmp_path, lambda tensors: None, config="{}"))
    shutil.copyfile(GOLDEN, tmp_path / "short.safetensors")
    with open(tmp_path / "short.safetensors", "r+b") as file:
        file.truncate(1000)
    with pytest.raises(CheckpointError, match="short.safetensors"):
        check_deqa(tmp_path / "short.safetensors")


def test_shortcuts_equal_the_plain_pass():
    batch = pixels(4)
    plain = plain_levels(NET, batch)
    assert plain.std(0).min() > 0.01
    first, prefix = NET.level_logits([batch], PROMPT)
    assert torch.allclose(first[0], plain, atol=1e-5)
    assert all(keys.shape[2] == len(PROMPT.before) for keys, _ in prefix)
    again, same = NET.level_logits([batch], PROMPT, prefix)
    assert same is prefix and torch.allclose(again[0], plain, atol=1e-5)


def test_the_prefix_does_not_depend_on_the_picture():
    _, one = NET.level_logits([pixels(1, seed=1)], PROMPT)
    _, other = NET.level_logits([pixels(2, seed=2)], PROMPT)
    for mine, theirs in zip(one, other, strict=True):
        assert torch.equal(mine[0], theirs[0]) and torch.equal(mine[1], theirs[1])


def _text_key(name: str, ours: dict) -> str:
    return name if name in ours else name.replace(".weight", ".multiway.0.weight")


@pytest.mark.parametrize("heads, groups, eps, theta", [(4, 4, 1e-5, 1e4), (6, 2, 1e-3, 1e4), (2, 1, 1e-6, 5e3)])
def test_with_equal_weights_for_text_and_pictures_it_is_a_llama(heads, groups, eps, theta):
    """Against transformers' LLaMA, in sizes that the golden file does not have."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "intermediate_size": 36, "num_hidden_layers": 2, "vocab_size": 50, "rms_norm_eps": eps}
    sizes |= {"num_attention_heads": heads, "num_key_value_heads": groups}
    rope = {"rope_type": "default", "rope_theta": theta}
    # transformers before version 5 reads rope_theta, later ones rope_parameters
    config = LlamaConfig(**sizes, tie_word_embeddings=False, rope_parameters=rope, rope_theta=theta)
    llama = LlamaForCausalLM(config).eval()
    net = network({**CONFIG, **sizes, "rope_theta": theta})
    ours = net.state_dict()
    for key in ours:
        ours[key].copy_(ours[key.replace("multiway.1.", "multiway.0.")])
    llama.load_state_dict({name: ours[_text_key(name, ours)] for name in llama.state_dict()})
    images = 0.2 * torch.randn(2, 4, 24)
    prompt = Prompt((1, 7, 3), (9, 4), (5, 6, 8))
    words = net.model.embed_tokens(torch.tensor(prompt.before + prompt.after)).expand(2, -1, -1)
    whole = torch.cat([words[:, :3], images, words[:, 3:]], 1)
    with torch.inference_mode():
        expected = llama(inputs_embeds=whole).logits
        found = net.all_logits(images, prompt)
    assert expected.std() > 0.5 and torch.allclose(found, expected, atol=2e-5)


def test_the_last_layer_for_the_last_token_equals_all_tokens():
    layer = NET.model.layers[-1]
    x = torch.randn(2, 7, 24, generator=torch.Generator().manual_seed(0))
    parts = ((0, 2), (1, 4), (0, 1))
    whole, kept = layer(x, parts)
    last, same = layer(x, parts, None, True)
    assert last.shape == (2, 1, 24) and torch.allclose(last, whole[:, -1:], atol=1e-6 * float(whole.abs().max()))
    assert torch.equal(kept[0], same[0]) and torch.equal(kept[1], same[1])


def test_no_token_sees_a_later_one():
    x = torch.randn(1, 7, 24, generator=torch.Generator().manual_seed(0))
    changed = x.clone()
    changed[:, 4] += 1
    one, other = (NET.model.layers[0](y, ((0, 3), (1, 4)))[0] for y in (x, changed))
    assert torch.equal(one[:, :4], other[:, :4]) and not torch.allclose(one[:, 5:], other[:, 5:])


def test_text_and_picture_tokens_have_their_own_weights():
    x = torch.randn(1, 4, 24, generator=torch.Generator().manual_seed(0))
    layer = NET.model.layers[0]
    assert not torch.allclose(layer(x, ((0, 4),))[0], layer(x, ((1, 4),))[0], atol=1e-2)


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_batches_equal_single_pictures(tmp_path, batch):
    every = pixels(5)
    expected = scores_from_logits(plain_levels(NET, every))
    assert expected.std() > 0.05 and expected.min() >= 1 and expected.max() <= 5
    found = scorer(tmp_path).score(5, lambda i: every[i], batch)
    assert torch.allclose(found, expected, atol=1e-5)


def test_streaming_equals_resident_and_moves_each_layer_once():
    batches = [pixels(2, seed=1), pixels(1, seed=2)]
    placed = []

    def place(module):
        placed.append(module)
        return streamed(torch.device("cpu"), torch.float64)(module)

    found, _ = NET.level_logits([batch.double() for batch in batches], PROMPT, None, place)
    for logits, batch in zip(found, batches, strict=True):
        assert torch.allclose(logits, plain_levels(NET, batch), atol=1e-5)
    assert len(placed) == len(set(placed)) == NET.layer_count + 4
    assert NET.model.norm.weight.dtype == torch.float32


def test_half_precision(tmp_path):
    every = pixels(3)
    exact = scorer(tmp_path / "a").score(3, lambda i: every[i])
    half = scorer(tmp_path / "b", dtype=torch.float16).score(3, lambda i: every[i])
    assert half.dtype == torch.float32 and (half - exact).abs().max() < 0.1


def test_score_is_the_expectation_of_the_levels():
    logits = torch.tensor([[50.0, 0, 0, 0, 0], [0, 0, 0, 0, 50], [0, 0, 0, 0, 0], [9, 9, 0, 0, 0]])
    assert torch.allclose(scores_from_logits(logits), torch.tensor([5.0, 1.0, 3.0, 4.5]), atol=1e-3)


def test_every_layer_is_made_by_the_operations_given():
    made = []

    def counting(kind):
        def make(*args, **options):
            made.append(kind(*args, **options))
            return made[-1]

        return make

    kinds = ("Linear", "Conv2d", "LayerNorm", "RMSNorm", "Embedding")
    operations = SimpleNamespace(**{kind: counting(getattr(nn, kind)) for kind in kinds})
    net = DeqaNet(parse_config(CONFIG, "test"), operations=operations)
    leaves = {module for module in net.modules() if not list(module.children())}
    assert leaves == set(made)


def test_infinite_logits_are_an_error_and_leave_no_prefix(tmp_path):
    broken = scorer(tmp_path)
    broken.net.model.layers[1].mlp.up_proj.weight[0] = float("nan")
    with pytest.raises(NumericalError, match="float32"):
        broken.score(1, lambda i: pixels(1)[0])
    assert broken.prefix is None
    with pytest.raises(ValueError, match="batch: 0"):
        broken.score(1, lambda i: pixels(1)[0], 0)
