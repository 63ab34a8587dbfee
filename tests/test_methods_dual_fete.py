"""DualFete: its losses written a second time in numpy, and its virtual steps taken again by hand."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.second_writing import FixedNetwork, as_numpy, random_logits, sigmoid, slopes
from helpers.tiny_methods import build, make_batch

from methods.shared.losses import masked_loss
from methods.shared.networks.network import NetworkOutput
from methods.shared.probabilities import Sigmoid, Softmax

SIZE = (8, 8, 8)
RAMP = {0: 0.006737946999085467, 50: 0.2865047968601901, 99: 0.9968798775}  # exp(-5 (1 - e/40)²), e = 40 step // 100
GAINS = 0.3, -0.7  # feedback of shared and of disputed pseudo-labels


def loss_in_numpy(z, y, region=None):
    """0.5 (cross-entropy + Dice), patch by patch: z, y and region (2, 8, 8, 8)."""
    p, losses = sigmoid(z), []
    region = np.ones_like(y) if region is None else region
    for q, target, inside in zip(p, y, region, strict=True):
        entropy = -(target * np.log(q) + (1 - target) * np.log(1 - q))
        dice = (2 * (q * target * inside).sum() + 1e-5) / (((q + target) * inside).sum() + 1e-5)
        losses.append(0.5 * ((entropy * inside).sum() / (inside.sum() + 1e-12) + 1 - dice))
    return np.mean(losses)


@pytest.mark.parametrize("mixed", [0.0, 1.0])
@pytest.mark.parametrize("step", RAMP)
def test_the_total_is_the_releases_in_numpy_and_so_are_its_gradients(step, mixed):
    method = build("dual_fete", iterations=100, mix_probability=mixed).train()
    shape = (2, 1, *SIZE)
    # Calls of a teacher: weak, strong, labelled and mixed patches.
    method.first = FixedNetwork(*(random_logits(*shape, seed=10 + i) for i in range(4)))
    method.second = FixedNetwork(*(random_logits(*shape, seed=20 + i) for i in range(4)))
    method.student = FixedNetwork(random_logits(*shape, seed=30))
    method._feedback = lambda *_: [torch.tensor(gain) for gain in GAINS]
    boxes, draw = [], method._box
    method._box = lambda images: boxes.append(draw(images)) or boxes[-1]
    batch = make_batch(method, size=SIZE)
    torch.manual_seed(1)
    losses = method.training_step(batch, step, "train")
    assert method.student.seen[0] is batch.unlabelled_images
    assert all(bool(box.any()) == bool(mixed) for box in boxes) and len(boxes) == 2
    for teacher in (method.first, method.second):
        assert teacher.seen[0] is batch.unlabelled_images and teacher.seen[2] is batch.labelled_images
        strong, mix, box = teacher.seen[1], teacher.seen[3], boxes[0 if teacher is method.first else 1]
        torch.testing.assert_close(mix, torch.where(box == 1, strong.flip(0), strong))

    weak, other_weak = (sigmoid(as_numpy(t.logits[0])[0][:, 0]) for t in (method.first, method.second))
    labels = as_numpy(batch.labels)[0]
    sure, other_sure = np.maximum(weak, 1 - weak), np.maximum(other_weak, 1 - other_weak)
    hard, other_hard = weak > 0.5, other_weak > 0.5
    agree = hard == other_hard
    of_first = (agree & (sure < other_sure)) | (~agree & (sure > other_sure))
    pseudo = np.where(of_first, hard, other_hard).astype(float)
    masks = [as_numpy(box.expand(2, 1, *SIZE))[0][:, 0] for box in boxes]

    def loss(student, *teachers):
        total = loss_in_numpy(student[:, 0], pseudo)
        for (strong, labelled, mix), own, peer, peer_sure, mask in (
            (teachers[:3], of_first, other_hard, other_sure, masks[0]),
            (teachers[3:], ~of_first, hard, sure, masks[1]),
        ):
            strong, labelled, mix = strong[:, 0], labelled[:, 0], mix[:, 0]
            for gain, region in zip(GAINS, (agree & own, ~agree & own), strict=True):
                likelihood = -np.log(np.maximum(sigmoid(strong), 1 - sigmoid(strong)))
                total += gain * (likelihood * region).sum() / region.sum()
            total += loss_in_numpy(labelled, labels)
            unmixed = np.where(mask == 1, mix[::-1], mix)
            total += RAMP[step] * loss_in_numpy(unmixed, peer.astype(float), (peer_sure >= 0.7).astype(float))
        return total

    parameters = [method.student.logits[0], *(t.logits[i] for t in (method.first, method.second) for i in (1, 2, 3))]
    assert losses["total"].item() == pytest.approx(loss(*as_numpy(*parameters)), rel=1e-5)
    exact, expected = slopes(losses["total"], parameters, loss)
    assert exact == pytest.approx(expected, rel=2e-3, abs=1e-6)
    assert torch.autograd.grad(losses["total"], method.first.logits[0], allow_unused=True) == (None,)


def moved_by_hand(student, images, pseudo_labels, region, length, normalised):
    """A copy of the student after a plain gradient step, as the release takes it."""
    student = copy.deepcopy(student)
    p = student(images).logits.sigmoid()
    entropy = F.binary_cross_entropy(p, pseudo_labels, reduction="none") * region
    axes = (2, 3, 4)
    dice = 1 - (2 * (p * pseudo_labels * region).sum(axes) + 1e-5) / (((p + pseudo_labels) * region).sum(axes) + 1e-5)
    (0.5 * (entropy.sum(axes) / region.sum(axes)).mean() + 0.5 * dice.mean()).backward()
    with torch.no_grad():
        for parameter in student.parameters():
            norm = parameter.grad.norm() if normalised else 1
            parameter -= length * parameter.grad / norm
    return student


class SmallNetwork(torch.nn.Sequential):
    """A network whose every parameter matters, in double precision."""

    def __init__(self):
        super().__init__(torch.nn.Conv3d(1, 3, 3, padding=1), torch.nn.Tanh(), torch.nn.Conv3d(3, 1, 1))
        self.double()

    def forward(self, images):
        return NetworkOutput(logits=super().forward(images.double()))


@pytest.mark.parametrize("virtual_steps", ["undone", "released"])
@pytest.mark.parametrize("normalised", [True, False])
def test_the_feedback_is_that_of_virtual_steps_taken_by_hand(normalised, virtual_steps):
    method = build("dual_fete", normalised=normalised, virtual_steps=virtual_steps).train()
    method.student = SmallNetwork()
    batch = make_batch(method, size=SIZE)
    pseudo_labels = (batch.unlabelled_images > 0.5).double()
    shared = (random_logits(2, 1, *SIZE, seed=0) > 0).double()
    regions = [shared, 1 - shared]
    start = student = copy.deepcopy(method.student)
    gains = method._feedback(batch, pseudo_labels, regions)

    def labelled_entropy(student):
        logits = student(batch.labelled_images).logits[:, 0]
        return F.binary_cross_entropy_with_logits(logits, batch.labels.double()).item()

    for gain, region in zip(gains, regions, strict=True):
        moved = moved_by_hand(student, batch.unlabelled_images, pseudo_labels, region, 0.05, normalised)
        expected = labelled_entropy(start) - labelled_entropy(moved)
        assert abs(expected) > 1e-4 and gain.item() == pytest.approx(expected, rel=1e-4)
        student = moved if virtual_steps == "released" else start
    for found, expected in zip(method.student.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("statistics", "moves"), [("kept", False), ("released", True)])
def test_virtual_passes_leave_the_student_alone_but_for_statistics_if_told_so(statistics, moves):
    method = build("dual_fete", virtual_statistics=statistics).train()
    batch = make_batch(method, size=(16, 16, 16))
    before = copy.deepcopy(method.student.state_dict())
    everywhere = torch.ones_like(batch.unlabelled_images)
    method._feedback(batch, everywhere, [everywhere, everywhere])
    for name, value in method.student.state_dict().items():
        is_statistic = "running" in name or "num_batches" in name
        assert torch.equal(value, before[name]) is not (moves and is_statistic), name
    assert all(p.grad is None for p in method.student.parameters())


def test_the_loss_of_an_empty_region_is_nothing_and_of_a_softmax_that_of_its_channels():
    logits = random_logits(2, 1, *SIZE, seed=0)
    assert masked_loss(Sigmoid(1), logits, torch.ones_like(logits), torch.zeros_like(logits)).item() == 0
    two = torch.cat([torch.zeros_like(logits), logits], 1)  # the same probabilities
    labels = (random_logits(2, *SIZE, seed=1) > 0).long()
    region = (random_logits(2, 1, *SIZE, seed=2) > 0).float()
    found = masked_loss(Softmax(1), two, Softmax(1).targets(labels), region)
    z, y, m = as_numpy(logits[:, 0], labels, region[:, 0])
    expected = (loss_in_numpy(z, y, m) + loss_in_numpy(-z, 1 - y, m)) / 2
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_boxes_have_sides_of_a_beta_distribution():
    method = build("dual_fete", mix_probability=1.0)
    torch.manual_seed(0)
    shares = [method._box(torch.zeros(2, 1, 64, 64)).mean().item() for _ in range(200)]  # in 2D: 1 - λ
    assert np.mean(shares) == pytest.approx(0.5, abs=0.05) and np.std(shares) == pytest.approx(1 / 6, abs=0.03)
    method = build("dual_fete")
    assert 5 < sum(bool(method._box(torch.zeros(1, 1, 16, 16)).any()) for _ in range(40)) < 35


@torch.no_grad()
def test_the_student_predicts():
    method = build("dual_fete").eval()
    images = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(method.predict(images), method.student(images).logits.sigmoid())
