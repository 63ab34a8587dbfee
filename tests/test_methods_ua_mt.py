"""UA-MT: its threshold, its teacher, and the consistency loss computed again from the same random numbers."""

import copy
import math

import pytest
import torch
from helpers.tiny_methods import CPU, build, make_batch, no_dropout

from benchmark.records.protocol import Training
from benchmark.trial.training import _run_phase, initial_state

STEP = 3000
RAMP = 0.2865047968601901  # exp(-5 / 4)


def sharp(**options):
    """UA-MT whose predictions are sure in some voxels and unsure in others."""
    method = build("ua_mt", **options)
    with torch.no_grad():
        for network in (method.student, method.teacher):
            network.segmentation[0].weight.mul_(3)
    return method


@pytest.mark.parametrize(("step", "printed"), [(0, 0.521), (3000, 0.569), (6000, 0.693)])
def test_the_published_thresholds(step, printed):
    method = build("ua_mt")
    assert method.threshold(step) == pytest.approx((0.75 + 0.25 * math.exp(-5 * (1 - step / 6000) ** 2)) * math.log(2))
    assert method.threshold(step) == pytest.approx(printed, abs=6e-4)


def test_with_several_softmax_channels_it_is_that_of_the_release_for_slices():
    """SSL4MIS: a threshold up to ln 2, and a sum over channels that is divided by twice the certain voxels."""
    method = no_dropout(sharp(classes=3, dimensions=2, head="softmax")).train()
    with torch.no_grad():
        method.teacher.segmentation[0].weight.mul_(2)
    batch = make_batch(method, size=(32, 32))
    assert method.threshold(6000) == pytest.approx(math.log(2))
    other = copy.deepcopy(method)
    torch.manual_seed(5)
    losses = method.training_step(batch, STEP, "train")

    torch.manual_seed(5)
    images = batch.images
    student = other.student(images).logits.softmax(1)

    def teacher(x):
        noise = torch.clamp(0.1 * torch.randn(x.shape), -0.2, 0.2)
        with torch.no_grad():
            return other.teacher(x + noise).logits.softmax(1)

    target = teacher(images)
    mean = torch.stack([teacher(torch.cat([images, images])) for _ in range(4)]).unflatten(1, (2, 4)).mean((0, 1))
    mask = -(mean * torch.log(mean + 1e-6)).sum(1, keepdim=True) < (0.75 + 0.25 * RAMP) * math.log(2)
    assert 0 < mask.float().mean() < 1
    expected = (mask * (student - target) ** 2).sum() / (2 * mask.sum() + 1e-16)
    assert losses["consistency"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_the_threshold_counts_iterations_and_scales_with_their_number():
    assert build("ua_mt").threshold(3001) > build("ua_mt").threshold(3000)
    assert build("ua_mt", iterations=1200).threshold(600) == pytest.approx(build("ua_mt").threshold(3000))


@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("patches", ["all", "unlabelled"])
def test_the_consistency_is_that_of_the_release_with_the_same_random_numbers(classes, patches):
    method = sharp(classes=classes, consistency_on=patches).train()
    batch = make_batch(method)
    other = copy.deepcopy(method)
    torch.manual_seed(5)
    losses = method.training_step(batch, STEP, "train")

    torch.manual_seed(5)
    images = torch.cat([batch.labelled_images, batch.unlabelled_images])
    logits = other.student(images).logits
    x = images if patches == "all" else images[2:]
    student = torch.sigmoid(logits if patches == "all" else logits[2:])

    def teacher(x):
        noise = torch.clamp(0.1 * torch.randn(x.shape), -0.2, 0.2)
        with torch.no_grad():
            p = torch.sigmoid(other.teacher(x + noise).logits)
        return torch.stack([1 - p, p])  # the release's two channels, first here

    target = teacher(x)
    forwards = [teacher(torch.cat([x, x])) for _ in range(4)]
    passes = [half for f in forwards for half in (f[:, : len(x)], f[:, len(x) :])]
    mean = sum(passes) / 8
    entropy = -(mean * torch.log(mean + 1e-6)).sum(0)
    sure = (entropy < (0.75 + 0.25 * RAMP) * math.log(2)).float()
    assert 0.02 < sure.mean() < 0.98
    difference = ((torch.stack([1 - student, student]) - target) ** 2).sum(0)
    expected = (sure * difference).sum() / (2 * sure.sum() + 1e-16)

    assert losses["certain_fraction"].item() == pytest.approx(sure.mean().item(), abs=2e-3)
    assert losses["consistency"].item() == pytest.approx(expected.item(), rel=5e-3)
    assert losses["total"].item() == pytest.approx(
        losses["supervised"].item() + 0.1 * RAMP * losses["consistency"].item(), rel=1e-5
    )


@pytest.mark.parametrize(("patches", "sees_labelled"), [("all", True), ("unlabelled", False)])
def test_which_patches_the_consistency_sees(patches, sees_labelled):
    # In eval mode, since batch statistics would tie all patches of a batch together.
    method = sharp(consistency_on=patches).eval()
    with torch.no_grad():
        for network in (method.student, method.teacher):
            network.segmentation[0].bias.fill_(2)  # sure everywhere
    batch = make_batch(method)
    labelled, unlabelled = batch.labelled_images.requires_grad_(), batch.unlabelled_images.requires_grad_()
    losses = method.training_step(batch, STEP, "train")
    of_labelled, of_unlabelled = torch.autograd.grad(losses["consistency"], (labelled, unlabelled), retain_graph=True)
    assert bool(of_labelled.any()) is sees_labelled and of_unlabelled.any()
    assert not torch.autograd.grad(losses["supervised"], unlabelled)[0].any()


@pytest.mark.parametrize(("patches", "count"), [("all", 4), ("unlabelled", 2)])
@pytest.mark.parametrize("passes", [2, 8])
def test_what_the_teacher_is_given(patches, count, passes):
    method = sharp(consistency_on=patches, monte_carlo_passes=passes).train()
    batch = make_batch(method)
    given, clean = [], []
    method.teacher.register_forward_pre_hook(lambda m, inputs: given.append(inputs[0]))
    method.student.register_forward_pre_hook(lambda m, inputs: clean.append(inputs[0]))
    method.training_step(batch, STEP, "train")
    images = torch.cat([batch.labelled_images, batch.unlabelled_images])
    assert len(clean) == 1 and torch.equal(clean[0], images)
    assert [len(x) for x in given] == [count] + [2 * count] * (passes // 2)
    images = images[4 - count :]
    noise = torch.cat([given[0] - images, *(x - torch.cat([images, images]) for x in given[1:])])
    assert 0.19 < noise.abs().max() <= 0.2 + 1e-5
    assert len({round(float(n.sum()), 4) for n in noise}) == len(noise)  # fresh for each patch and pass


def test_driven_by_the_loop_the_teacher_stays_in_train_mode_and_gets_no_gradient():
    method = sharp().eval()
    state = initial_state(method, Training(iterations=6000))
    modes = []
    for part in method.teacher.modules():
        part.register_forward_pre_hook(lambda m, inputs: modes.append(m.training))
    before = {name: value.clone() for name, value in method.teacher.state_dict().items()}
    _run_phase(state, [make_batch(method)], "train", None)
    assert modes and all(modes)
    assert all(p.grad is None and not p.requires_grad for p in method.teacher.parameters())
    assert all(p.grad is not None for p in method.student.parameters())
    after = method.teacher.state_dict()
    for name, value in before.items():
        moved = "running" in name or "num_batches" in name  # batch statistics follow the teacher's own passes
        assert torch.equal(value, after[name]) is not moved, name
    assert method.teacher.encoder.blocks[0][0][1].num_batches_tracked == 5
    held = {id(p) for group in state.optimizers["train"].param_groups for p in group["params"]}
    assert held == {id(p) for p in method.student.parameters()}


def test_after_step_0_the_teacher_is_the_student_and_follows_it_from_there():
    method = sharp(ema_decay=0.99).to(CPU)
    with torch.no_grad():
        for p in method.student.parameters():
            p.add_(torch.randn_like(p))
    method.after_step(0)
    for a, b in zip(method.teacher.parameters(), method.student.parameters(), strict=True):
        assert torch.equal(a, b)
    old = [p.clone() for p in method.teacher.parameters()]
    with torch.no_grad():
        for p in method.student.parameters():
            p.add_(1)
    method.after_step(2000)
    for p, was in zip(method.teacher.parameters(), old, strict=True):
        torch.testing.assert_close(p.detach(), was + 0.01, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_student_predicts():
    method = build("ua_mt").eval()
    for p in method.teacher.parameters():
        p.fill_(float("nan"))
    x = torch.randn(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(method.predict(x), torch.sigmoid(method.student(x).logits))
