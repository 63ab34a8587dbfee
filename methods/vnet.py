"""The supervised V-Net: the floor and the ceiling of every comparison, and DTML's ablation "M_s only"."""

from typing import Literal

from methods.shared.losses import segmentation_loss
from methods.shared.method import Info, Method, MethodSettings, Passes, setting
from methods.shared.registry import register


@register("vnet")
class SupervisedVNet(Method):
    """V-Net trained on labelled patches alone with 0.5 (cross-entropy + Dice) (UA-MT release, `train_LA.py`).

    The released code has two softmax channels; one sigmoid channel a class is the same function and loss, though SGD
    steps differ by a constant factor in the head. DTML's Table 2 prints the same figures for "M_s only".
    """

    info = Info(
        title="V-Net", year=2016, source="Milletari et al., 3DV 2016; UA-MT release", fidelity="faithful",
        passes=Passes(train=4),
    )  # fmt: skip

    class Settings(MethodSettings):
        labelled_patches: Literal["all", "half"] = setting(
            "all", "patches a step: the whole batch labelled (UA-MT), or only the half that semi-supervised methods get"
        )

    @classmethod
    def patches(cls, settings, batch_size):
        return (batch_size if settings.labelled_patches == "all" else batch_size // 2), 0

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.network = backbone()

    def training_step(self, batch, step, phase):
        return {"total": segmentation_loss(self.network(batch.labelled_images).logits, batch.labels)}

    def predict(self, images):
        return self.network(images).logits.sigmoid()
