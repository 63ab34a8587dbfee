"""What every network must do, whatever it is: the test suite holds the built-in ones to it, `check` anybody's."""

import torch
from torch import Tensor

from benchmark.contract.small_training import CPU, SEED, require
from benchmark.trial.inference import fold_batch_norm
from methods.shared.networks.backbone import Backbone
from methods.shared.networks.layers import convolution_format
from methods.shared.networks.network import NetworkError, SegmentationNetwork
from methods.shared.networks.registry import network_function

WIDTH = 12  # a multiple of what transformers ask for
CLASSES, CHANNELS = 2, 2
ROUNDING = 5e-3  # of probabilities in bf16, on average
STEPS, RATE = 30, 0.01
SIDES = (64, 32, 32)  # of images: transformers halve them five times, and normalise more than one value


class NetworkSubject:
    """The network that is checked. It is built anew for each check.

    Args:
        name: a registered name.
    """

    def __init__(self, name: str):
        self.name = name
        network_function(name)  # refuses an unknown one
        self.dimensions = [n for n in (2, 3) if self._takes(n)]

    def build(self, dimensions: int, amp_dtype: torch.dtype | None = None, **asked) -> SegmentationNetwork:
        """The network with default arguments and two classes, for images of two channels."""
        torch.manual_seed(SEED)
        backbone = Backbone(CLASSES, WIDTH, amp_dtype, CHANNELS, dimensions, self.name)
        network = backbone(**asked).to(CPU)
        convolution_format(network)
        return network

    def _takes(self, dimensions: int) -> bool:
        try:
            self.build(dimensions)
        except NetworkError:
            return False
        return True


def takes_slices_or_volumes(subject: NetworkSubject) -> None:
    require(
        bool(subject.dimensions),
        "it takes neither slices nor volumes: with default arguments it must take dimensions 2 or 3",
    )


def keeps_the_size_of_images(subject: NetworkSubject) -> None:
    for dimensions in subject.dimensions:
        for sides in (SIDES, (40, 33, 36)):
            size = sides[:dimensions]
            network = subject.build(dimensions, signed_distance=True)
            output = network(torch.randn(2, CHANNELS, *size), features=True)
            for what, found in (("logits", output.logits), ("distances", output.signed_distance)):
                require(
                    found.shape == (2, CLASSES, *size),
                    f"{what} of images {size} have shape {tuple(found.shape)}: return features at the images' size, "
                    "and give Parts the multiple that the network needs",
                )
                require(found.dtype == torch.float32, f"{what} are {found.dtype}: leave heads to the benchmark")


def trains_every_parameter(subject: NetworkSubject) -> None:
    for dimensions in subject.dimensions:
        network = subject.build(dimensions)
        network(_images(dimensions)).logits.square().mean().backward()
        missed = [key for key, p in network.named_parameters() if p.requires_grad and p.grad is None]
        require(not missed, f"parameter {missed[:1]} gets no gradient: use it, or leave it out")


def learns_a_bright_box(subject: NetworkSubject) -> None:
    for dimensions in subject.dimensions[:1]:  # slices are quicker
        network = subject.build(dimensions)
        images = _images(dimensions)
        target = (images[:, :1] > 1).float().expand(-1, CLASSES, *images.shape[2:])
        optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
        losses = []
        for step in range(STEPS):
            torch.manual_seed(step)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(network(images).logits, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        require(
            losses[-1] < 0.7 * losses[0],
            f"its loss goes from {losses[0]:.3g} to {losses[-1]:.3g} in {STEPS} steps: a bright box should be learnt",
        )


def predicts_each_image_by_itself(subject: NetworkSubject) -> None:
    for dimensions in subject.dimensions:
        network, images = subject.build(dimensions).eval(), _images(dimensions)
        with torch.inference_mode():
            together, alone = network(images).logits, network(images[:1]).logits
            again = network(images).logits
        require(torch.equal(together, again), "it predicts something else each time: let eval() turn randomness off")
        require(
            torch.allclose(together[:1], alone, rtol=1e-3, atol=1e-3),
            "it predicts something else where other images are in the batch: use no batch statistics in eval mode",
        )


def predicts_the_same_in_bf16_and_folded(subject: NetworkSubject) -> None:
    for dimensions in subject.dimensions:
        network, images = subject.build(dimensions).eval(), _images(dimensions)
        rounded = subject.build(dimensions, torch.bfloat16).eval()
        with torch.inference_mode():
            exact = network(images).logits.sigmoid()
            error = _mean_error(exact, rounded(images).logits.sigmoid())
            folded = _mean_error(exact, fold_batch_norm(network)(images).logits.sigmoid())
        require(
            error <= ROUNDING,
            f"probabilities in bf16 are {error:.2g} off on average: return Parts(..., autocast=False)",
        )
        require(folded <= 1e-4, f"with batch norm folded into convolutions probabilities are {folded:.2g} off")


def gives_what_it_offers(subject: NetworkSubject) -> str | None:
    """Several decoders, and features that are decoded apart, if the network says that it has them."""
    offered = []
    for dimensions in subject.dimensions:
        images = _images(dimensions)
        network = subject.build(dimensions)
        parts = network_function(subject.name)(CHANNELS, dimensions, WIDTH)
        if len(parts.upsamplings) > 1:
            offered.append("decoders")
            several = subject.build(dimensions, decoders=parts.upsamplings)
            outputs = several.forward_decoders(images)
            different = [not torch.equal(outputs[0].logits, output.logits) for output in outputs[1:]]
            require(all(different), "its decoders give the same logits: make a new one at each call of Parts.decoder")
        if parts.separable:
            offered.append("encoder")
            network.eval()
            with torch.inference_mode():
                whole = network(images).logits
                apart = network.decode(network.encode(images), images.shape[2:]).logits
            require(torch.equal(whole, apart), "encode() and decode() give something else than the network as a whole")
    return None if offered else "is one piece, with one decoder"


def _images(dimensions: int) -> Tensor:
    images = torch.randn(2, CHANNELS, *SIDES[:dimensions], generator=torch.Generator().manual_seed(SEED))
    images[(slice(None), slice(0, 1), *[slice(8, 20)] * dimensions)] += 5
    return images


def _mean_error(exact: Tensor, other: Tensor) -> float:
    return (exact - other).abs().mean().item()


CHECKS = {
    "takes slices or volumes": takes_slices_or_volumes,
    "keeps the size of images": keeps_the_size_of_images,
    "trains every parameter": trains_every_parameter,
    "learns a bright box": learns_a_bright_box,
    "predicts each image by itself": predicts_each_image_by_itself,
    "predicts the same in bf16, and with batch norm folded": predicts_the_same_in_bf16_and_folded,
    "gives what it offers": gives_what_it_offers,
}
