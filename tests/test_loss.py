"""Losses against torch's own and NumPy's; unknown labels cost nothing; shares of a step add up."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from radnet.loss import dice_loss, known_counts, label_loss
from radnet.target import LABELS

ONES = dict.fromkeys(LABELS, 1.0)


def batch(num_samples: int, seed: int = 0) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Outputs that need gradients, and targets of which about a third is unknown."""
    rng = np.random.default_rng(seed)
    sizes = {"sequence": (5,), "view": (3,), "contrast": (2,), "coverage": (9,), "spacing": ()}
    outputs = {
        name: torch.tensor(rng.normal(0, 2, (num_samples, *size)), dtype=torch.float32, requires_grad=True)
        for name, size in sizes.items()
    }
    columns = [rng.integers(0, k, num_samples) for k in (5, 3, 2)]
    columns += [rng.integers(0, 2, num_samples) for _ in range(9)] + [rng.uniform(0.5, 8, num_samples)]
    target = np.stack(columns, axis=1)
    target[rng.random(target.shape) < 0.33] = -1
    return outputs, torch.tensor(target, dtype=torch.float32)


def test_parts_equal_torch_with_ignore_index_and_numpy():
    outputs, target = batch(40)
    weight = torch.ones(40)
    total, parts = label_loss(outputs, target, weight, known_counts(target, weight), ONES)
    for k, name in enumerate(LABELS[:3]):
        expected = F.cross_entropy(outputs[name], target[:, k].long(), ignore_index=-1)
        torch.testing.assert_close(parts[name], expected.detach())
    logit, truth = outputs["coverage"].detach().double().numpy(), target[:, 3:12].double().numpy()
    entries = np.where(truth == 1, np.log1p(np.exp(-logit)), np.log1p(np.exp(logit)))
    assert parts["coverage"].item() == pytest.approx(entries[truth >= 0].mean(), rel=1e-5)
    known = target[:, 12].numpy() > 0
    error = np.abs(outputs["spacing"].detach().numpy()[known] - np.log(target[:, 12].numpy()[known]))
    huber = np.where(error <= 1, error**2 / 2, error - 0.5)
    assert parts["spacing"].item() == pytest.approx(huber.mean(), rel=1e-5)
    assert total.item() == pytest.approx(sum(part.item() for part in parts.values()), rel=1e-6)


def test_known_counts_add_up_weights():
    _, target = batch(30)
    weight = torch.rand(30)
    weight[:5] = 0
    counts, t, w = known_counts(target, weight), target.numpy(), weight.numpy()
    expected = [w[t[:, k] >= 0].sum() for k in range(3)]
    expected += [(w[:, None] * (t[:, 3:12] >= 0)).sum(), w[t[:, 12] > 0].sum()]
    assert counts.dtype == torch.float32
    np.testing.assert_allclose(counts.numpy(), expected, rtol=1e-6)


def test_label_weights_scale_the_total_only():
    outputs, target = batch(12)
    weight = torch.ones(12)
    factors = dict(zip(LABELS, (1.0, 0.5, 2.0, 0.0, 3.0), strict=True))
    total, parts = label_loss(outputs, target, weight, known_counts(target, weight), factors)
    assert total.item() == pytest.approx(sum(factors[name] * parts[name].item() for name in LABELS), rel=1e-6)


def test_micro_batches_and_ranks_add_up_to_the_whole_step():
    outputs, target = batch(24)
    weight = torch.rand(24)
    known = known_counts(target, weight)
    label_loss(outputs, target, weight, known, ONES)[0].backward()
    whole = {name: output.grad.clone() for name, output in outputs.items()}
    for output in outputs.values():
        output.grad = None
    for part in (slice(0, 7), slice(7, 8), slice(8, 24)):
        share = {name: output[part] for name, output in outputs.items()}
        label_loss(share, target[part], weight[part], known, ONES)[0].backward()
    for name, output in outputs.items():
        torch.testing.assert_close(output.grad, whole[name])


@pytest.mark.parametrize("hidden", ["by target", "by weight"])
def test_nothing_known_costs_exactly_zero_even_where_outputs_are_not_finite(hidden):
    outputs, target = batch(4)
    weight = torch.ones(4)
    if hidden == "by target":
        target[:] = -1
    else:
        weight[:] = 0
    for output in outputs.values():
        output.data[0] = float("nan")
        output.data[1] = float("inf")
    known = known_counts(target, weight)
    total, parts = label_loss(outputs, target, weight, known, ONES)
    total.backward()
    assert not known.any() and total.item() == 0 and not any(part.item() for part in parts.values())
    for name, output in outputs.items():
        assert torch.equal(output.grad, torch.zeros_like(output)), name


def test_one_unknown_label_leaves_the_others_alone():
    outputs, target = batch(10)
    target[:, 2] = -1
    weight = torch.ones(10)
    total, parts = label_loss(outputs, target, weight, known_counts(target, weight), ONES)
    total.backward()
    assert parts["contrast"] == 0 and not outputs["contrast"].grad.any() and outputs["view"].grad.any()
    assert torch.isfinite(total)


def test_half_precision_outputs_are_computed_in_float32():
    outputs, target = batch(6)
    weight = torch.ones(6)
    half = {name: output.detach().bfloat16() for name, output in outputs.items()}
    total, _ = label_loss(half, target, weight, known_counts(target, weight), ONES)
    assert total.dtype == torch.float32


def numpy_dice_loss(logits: np.ndarray, mask: np.ndarray, weight: np.ndarray) -> float:
    cost = []
    for logit, truth in zip(logits, mask, strict=True):
        p = np.exp(logit - logit.max(axis=0))
        p /= p.sum(axis=0)
        cross_entropy = -np.mean(np.log(np.take_along_axis(p, truth[None], axis=0)))
        dice = [(2 * p[k][truth == k].sum() + 1) / (p[k].sum() + (truth == k).sum() + 1) for k in range(1, len(logit))]
        cost.append(cross_entropy + 1 - np.mean(dice))
    return float((np.array(cost) * weight).sum() / weight.sum())


@pytest.mark.parametrize("num_classes", [2, 3])
def test_dice_loss_equals_numpy(num_classes):
    rng = np.random.default_rng(num_classes)
    logits, mask = rng.normal(0, 2, (3, num_classes, 4, 5, 6)), rng.integers(0, num_classes, (3, 4, 5, 6))
    mask[1] = 0
    weight = np.array([1.0, 0.5, 2.0])
    loss = dice_loss(
        torch.tensor(logits), torch.tensor(mask.astype(np.uint8)), torch.tensor(weight), torch.tensor(weight.sum())
    )
    assert loss.item() == pytest.approx(numpy_dice_loss(logits, mask, weight), rel=1e-5)


def test_dice_loss_ignores_padding_and_shares_add_up():
    logits = torch.randn(3, 2, 4, 4, 4, requires_grad=True)
    mask, weight = torch.randint(0, 2, (3, 4, 4, 4)), torch.tensor([1.0, 1.0, 0.0])
    logits.data[2] = float("nan")
    whole = dice_loss(logits, mask, weight, weight.sum())
    shares = [dice_loss(logits[k : k + 1], mask[k : k + 1], weight[k : k + 1], weight.sum()) for k in range(3)]
    torch.testing.assert_close(sum(shares), whole)
    whole.backward()
    assert not logits.grad[2].any() and logits.grad[:2].any()
    assert dice_loss(logits, mask, torch.zeros(3), torch.tensor(0.0)).item() == 0
    confident = torch.stack([1 - mask[:2], mask[:2]], dim=1) * 50.0
    assert dice_loss(confident, mask[:2], weight[:2], weight[:2].sum()).item() == pytest.approx(0, abs=1e-4)
