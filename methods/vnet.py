"""The supervised V-Net: the lower and upper bound of every comparison, and DTML's ablation "M_s only"."""

from typing import Literal

from methods.shared.method import Info, Method, MethodSettings, Passes, setting
from methods.shared.registry import register


@register("vnet")
class SupervisedVNet(Method):
    """A V-Net trained on labelled patches alone with 0.5 (cross-entropy + Dice) (UA-MT release, `train_LA.py`).

    The released code has two softmax channels. One sigmoid channel for each class is the same function and loss, but
    SGD steps differ by a constant factor in the head. DTML's Table 2 prints the same figures for "M_s only".
    """

    info = Info(
        title="V-Net", year=2016, source="Milletari et al., 3DV 2016; UA-MT release", fidelity="faithful",
        passes=Passes(train=4),
    )  # fmt: skip

    class Settings(MethodSettings):
        labelled_patches: Literal["all", "half"] = setting(
            "all", "labelled patches of a step: the whole batch (UA-MT), or the half that semi-supervised methods get"
        )

    @classmethod
    def patches(cls, settings, batch_size):
        return (batch_size if settings.labelled_patches == "all" else batch_size // 2), 0

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.network = backbone()

    def training_step(self, batch, step, phase):
        return {"total": self.head.segmentation_loss(self.network(batch.labelled_images).logits, batch.labels)}

    def predict(self, images):
        return self.head.predict(self.network(images).logits)
