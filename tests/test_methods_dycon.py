"""DyCON: its losses written a second time in numpy, and that no label of an unlabelled patch is needed."""

import math

import numpy as np
import pytest
import torch
from helpers.second_writing import as_numpy, random_logits, sigmoid, slopes
from helpers.tiny_methods import build, make_batch
from torch import nn

from methods.dycon import hard_negatives
from methods.shared.networks.backbone import Backbone
from methods.shared.probabilities import Softmax

SIZE = (32, 16, 16)
PATCHES = 4 * 2 * 2
RAMP = {0: 0.006737946999085467, 50: 0.2865047968601901, 99: 0.9968798775}  # exp(-5 (1 - e/40)²), e = 40 step // 100


class Fixed(nn.Module):
    """Fixed logits and embeddings, and the averages of the real network."""

    def __init__(self, network, logits, embeddings):
        super().__init__()
        self.on_grid = network.on_grid
        self.logits = nn.Parameter(logits)
        self.embeddings = nn.Parameter(embeddings / embeddings.norm(dim=2, keepdim=True))
        self.seen = []

    def forward(self, images):
        self.seen.append(images)
        return self.logits, self.embeddings


def fixed(**settings):
    method = build("dycon", iterations=100, **settings).train()
    blobs = random_logits(4, 1, 4, 2, 2, seed=3).repeat_interleave(8, 2).repeat_interleave(8, 3).repeat_interleave(8, 4)
    student = Fixed(method.student, random_logits(4, 1, *SIZE, seed=1), random_logits(4, PATCHES, 6, seed=4))
    teacher = Fixed(method.student, blobs, random_logits(4, PATCHES, 6, seed=5)).requires_grad_(False)
    method.student, method.teacher = student, teacher
    return method, make_batch(method, size=SIZE)


def entropy(p):
    return -(p * np.log(p + 1e-6) + (1 - p) * np.log(1 - p + 1e-6))


def contrast(z, teacher, labels, threshold, temperature, focus, shifted):
    """FeCL of one patch, row by row: z and teacher (N, F), labels (N,)."""
    n, similarity = len(z), z @ z.T / temperature
    np.fill_diagonal(similarity, 0)
    exponents = np.exp(similarity - (similarity.max(0, keepdims=True) if shifted else 0))
    rows = []
    for i in range(n):
        negatives = sum(exponents[i, j] for j in range(n) if labels[j] != labels[i])
        shares = [
            exponents[i, j] / (exponents[i, j] + negatives) for j in range(n) if j != i and labels[j] == labels[i]
        ]
        rows.append(np.mean([-math.log(s) * (1 - s) ** focus for s in shares]) if shares else 0)
    cross = z @ teacher.T
    hard = [-math.log(1 - cross[i, j]) for i in range(n) for j in range(n)
            if labels[i] != labels[j] and cross[i, j] > threshold]  # fmt: skip
    return np.mean(rows), hard


@pytest.mark.parametrize(
    ("step", "settings"), [(0, {}), (50, {}), (99, {}), (50, {"shifted": True}), (50, {"contrast": "all"})]
)
def test_the_total_is_the_releases_in_numpy_and_so_are_its_gradients(step, settings):
    method, batch = fixed(**settings)
    shifted, everywhere = "shifted" in settings, "contrast" in settings
    losses = method.training_step(batch, step, "train")
    student, teacher = method.student, method.teacher
    assert student.seen[0].equal(batch.images)
    noise = teacher.seen[0] - batch.images
    assert 0.19 < noise.abs().max() <= 0.2 + 1e-5
    labels, q, other = as_numpy(batch.labels, teacher.logits.sigmoid(), teacher.embeddings)
    pseudo = (teacher.logits[2:, 0, ::8, ::8, ::8] > 0).flatten(1).numpy()
    assert (pseudo.mean(1) > 0).all() and (pseudo.mean(1) < 1).all()
    first = 0 if everywhere else 2
    if everywhere:  # blocks of labelled patches have the label of most of their voxels
        blocks = labels.reshape(2, 4, 8, 2, 8, 2, 8).mean((2, 4, 6)) > 0.5
        pseudo = np.concatenate([blocks.reshape(2, -1), pseudo])
    beta = 5 * 0.1 ** (step / 100)
    threshold = 0.3 + 0.2 * math.exp(-5 * (1 - step / 100) ** 2)

    def loss(logits, embeddings):
        p, y = sigmoid(logits), labels
        own = p[:2, 0]
        supervised = -(y * np.log(own) + (1 - y) * np.log(1 - own)).mean()
        supervised += 1 - (2 * (own * y).sum() + 1e-5) / ((own**2).sum() + (y**2).sum() + 1e-5)
        consistency = ((p[2:] - q[2:]) ** 2).mean()  # of both softmax channels, whose differences are equal
        uncertain = 2 * (p - q) ** 2 / (np.exp(beta * entropy(p)) + np.exp(beta * entropy(q)))
        uncertain = (uncertain + beta * (entropy(p) + entropy(q))).mean()
        found = [
            contrast(z, t, c, threshold, 0.6, 2, shifted)
            for z, t, c in zip(embeddings[first:], other[first:], pseudo, strict=True)
        ]
        contrasted = np.mean([rows for rows, _ in found]) + np.mean([value for _, hard in found for value in hard])
        return supervised + 0.1 * RAMP[step] * consistency + 0.5 * (contrasted + uncertain)

    assert losses["total"].item() == pytest.approx(loss(*as_numpy(student.logits, student.embeddings)), rel=1e-4)
    if not shifted:
        exact, expected = slopes(losses["total"], [student.logits, student.embeddings], loss)
        assert exact == pytest.approx(expected, rel=2e-3)


def test_the_consistency_of_a_softmax_is_a_mean_over_its_channels():
    method = build("dycon", classes=3).train()
    method.head = Softmax(3)
    batch = make_batch(method, size=(16, 16, 16))
    teacher, student = random_logits(4, 4, 16, 16, 16, seed=1), random_logits(4, 4, 16, 16, 16, seed=2)
    embeddings = random_logits(4, 8, 6, seed=3)
    method.student = Fixed(method.student, student, embeddings)
    method.teacher = Fixed(method.student, teacher, embeddings)
    found = method.training_step(batch, 50, "train")["consistency"]
    assert found.item() == pytest.approx((student.softmax(1) - teacher.softmax(1))[2:].square().mean().item(), rel=1e-5)


def test_hard_negatives_by_hand():
    student = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    teacher = torch.tensor([[[0.6, 0.8], [0.4, 0.9]]])
    labels = torch.tensor([[0, 1]])
    # Pairs of different labels: (0, 1) has 0.4, and (1, 0) has 0.8.
    assert hard_negatives(student, teacher, labels, 0.5).item() == pytest.approx(-math.log(0.2), rel=1e-5)
    assert hard_negatives(student, teacher, labels, 0.3).item() == pytest.approx(
        -(math.log(0.6) + math.log(0.2)) / 2, rel=1e-5
    )
    assert hard_negatives(student, teacher, torch.tensor([[1, 1]]), 0.3).item() == 0
    student.requires_grad_()
    same = hard_negatives(student, student.detach().flip(1), labels, 0.3)  # similarity 1
    assert torch.autograd.grad(same, student)[0].isfinite().all()


@pytest.mark.parametrize(("dimensions", "size", "grid"), [(3, (32, 20, 16), (4, 4, 2)), (2, (32, 20), (4, 4))])
def test_embeddings_and_labels_lie_on_one_grid_where_the_network_pads(dimensions, size, grid):
    method = build("dycon")
    network = type(method.student)(Backbone(width=2, dimensions=dimensions))
    images = torch.ones(2, 1, *size)
    _, embeddings = network(images)
    assert embeddings.shape == (2, math.prod(grid), 256)
    torch.testing.assert_close(embeddings.norm(dim=2), torch.ones(2, math.prod(grid)))
    maps = network.on_grid(images)
    assert maps.shape == (2, 1, *grid) and set(maps.unique().tolist()) == {0.0, 0.5, 1.0}  # 16 to 20 is half a patch


def test_teacher_and_clipping():
    method = build("dycon")
    assert method.gradient_clipping == 1.0
    with torch.no_grad():
        for p in method.student.parameters():
            p.add_(1)
    method.after_step(0)
    assert all(torch.equal(a, b) for a, b in zip(method.student.parameters(), method.teacher.parameters(), strict=True))


@torch.no_grad()
def test_the_student_predicts():
    method = build("dycon").eval()
    images = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(method.predict(images), method.student.network(images).logits.sigmoid())
