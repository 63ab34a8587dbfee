"""SDCL: its losses written a second time in numpy, its stages, and what it predicts with."""

import numpy as np
import pytest
import torch
from helpers.second_writing import FixedNetwork, as_numpy, random_logits, sigmoid, slopes
from helpers.tiny_methods import build, make_batch

SIZE = (16, 16, 16)
STEP = 50  # of the second stage


def fixed(step, **settings):
    """A step of SDCL on networks of fixed logits: (losses, method, batch, boxes)."""
    method = build("sdcl", iterations=100, **settings).train()
    shapes = (2, 1, *SIZE)
    method.student = FixedNetwork(random_logits(*shapes, seed=1))
    method.second = FixedNetwork(random_logits(*shapes, seed=2))
    method.teacher = FixedNetwork(random_logits(*shapes, seed=3)).requires_grad_(False)
    batch, boxes = make_batch(method, size=SIZE), []
    draw = method._box
    method._box = lambda images: boxes.append(draw(images)) or boxes[-1]
    torch.manual_seed(0)
    return method.training_step(batch, step, "train"), method, batch, boxes[0]


def region_loss(z, y, mask):
    p = sigmoid(z)
    entropy = -(y * np.log(p) + (1 - y) * np.log(1 - p))
    dice = (2 * (p * y * mask).sum() + 1e-5) / (((p + y) * mask).sum() + 1e-5)
    return 0.5 * ((entropy * mask).sum() / mask.sum() + 1 - dice)


def second_writing(first, second, labels, pseudo, cuboid):
    """The total of the second stage, mix by mix, from the logits of both students (2, ...)."""
    total = 0.0
    for mix, outside_is_labelled in ((0, True), (1, False)):
        outside, inside = (labels, pseudo) if outside_is_labelled else (pseudo, labels)
        target = np.where(cuboid == 1, inside[mix], outside[mix])
        labelled = (cuboid == 0) == outside_is_labelled
        weight = np.where(labelled, 1.0, 0.5)
        differ = (first[mix] > 0) != (second[mix] > 0)
        for z in (first[mix], second[mix]):
            p = sigmoid(z)
            total += region_loss(z, labels[mix], labelled) + 0.5 * region_loss(z, pseudo[mix], ~labelled)
            total += 0.5 * (differ * weight * (p - target) ** 2).sum() / differ.sum()
            wrong = differ & ((z > 0) != (target == 1))
            doubt = -(np.log(p) + np.log(1 - p)) / 2  # the release's target is 1 for both labels
            total += 0.05 * (wrong * weight * doubt).sum() / wrong.sum()
    return total


def test_the_second_stage_is_the_release_in_numpy_and_so_are_its_gradients():
    losses, method, batch, box = fixed(STEP)
    pseudo = method._pseudo_labels(batch.unlabelled_images)[:, 0]
    assert method.teacher.seen[0] is batch.unlabelled_images
    labels, pseudo, cuboid = as_numpy(batch.labels, pseudo, box[0, 0])
    assert 0 < cuboid.mean() < 1 and 0 < pseudo.mean() < 1

    def loss(first, second):
        return second_writing(first[:, 0], second[:, 0], labels, pseudo, cuboid)

    students = [method.student.logits[0], method.second.logits[0]]
    assert losses["total"].item() == pytest.approx(loss(*as_numpy(*students)), rel=1e-5)
    exact, expected = slopes(losses["total"], students, loss)
    assert exact == pytest.approx(expected, rel=1e-3)


def test_the_first_stage_mixes_labelled_patches_for_both_students():
    losses, method, batch, box = fixed(0)
    labels, cuboid, first, second = as_numpy(batch.labels, box[0, 0], method.student.logits[0], method.second.logits[0])
    targets = [np.where(cuboid == 1, labels[1 - i], labels[i]) for i in range(2)]
    everywhere = np.ones(SIZE)
    expected = sum(region_loss(z[i, 0], targets[i], everywhere) for z in (first, second) for i in range(2)) / 2
    assert losses["total"].item() == pytest.approx(expected, rel=1e-5) and not method.teacher.seen
    inside = box.expand(1, 1, *SIZE)[0, 0] == 1
    [seen], [same] = method.student.seen, method.second.seen
    assert seen is same
    assert torch.equal(seen[0, 0][inside], batch.labelled_images[1, 0][inside])
    assert torch.equal(seen[0, 0][~inside], batch.labelled_images[0, 0][~inside])


def test_where_students_agree_nothing_is_corrected():
    method = build("sdcl", iterations=100).train()
    same = random_logits(2, 1, *SIZE, seed=1)
    method.student, method.second = FixedNetwork(same), FixedNetwork(same.clone())
    losses = method.training_step(make_batch(method, size=SIZE), STEP, "train")
    assert losses["differ"] == losses["distance"] == losses["doubt"] == 0


def test_stages_teacher_and_optimiser():
    method = build("sdcl", iterations=355)
    assert method.pretraining_steps == 80
    assert build("sdcl", iterations=355, learning_rate="release").learning_rate_factor(200) == pytest.approx(0.1)
    adam = build("sdcl", learning_rate="release").configure_optimizers(None)["train"]
    assert isinstance(adam, torch.optim.Adam) and adam.param_groups[0]["lr"] == 1e-3
    with torch.no_grad():
        next(method.student.parameters()).add_(1)
    method.after_step(79)  # the second stage starts with the student's weights in the teacher
    before = next(method.teacher.parameters()).clone()
    assert torch.equal(before, next(method.student.parameters()))
    with torch.no_grad():
        next(method.student.parameters()).add_(1)
    method.after_step(80)
    torch.testing.assert_close(next(method.teacher.parameters()), before + 0.01)


@torch.no_grad()
def test_the_mean_of_both_students_predicts():
    method = build("sdcl").eval()
    images = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = (method.student(images).logits.sigmoid() + method.second(images).logits.sigmoid()) / 2
    torch.testing.assert_close(method.predict(images), expected)
    assert not any(isinstance(m, torch.nn.BatchNorm3d) for m in method.second.modules())
