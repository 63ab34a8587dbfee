"""What a table and a lead say of the training protocol."""

from benchmark.records.protocol import YOUNGER, Training

NETWORKS = {
    "vnet": "V-Net", "resvnet": "ResV-Net", "unet_2d": "2D U-Net", "unet_3d": "3D U-Net", "dynunet": "DynUNet",
    "swin_unetr": "SwinUNETR",
}  # fmt: skip


def network_of(training: Training) -> str:
    """The network, its width and what else was chosen of it.

    Example:
        >>> network_of(Training())
        'V-Net with 16 filters'
        >>> network_of(Training(network={"name": "vnet", "normalisation": "instance"}, head="softmax"))
        'V-Net with 16 filters, normalisation instance, softmax'
    """
    name, arguments = training.network.name, training.network.arguments
    chosen = "".join(f", {key} {value}" for key, value in arguments.items())
    head = "" if training.head == "sigmoid" else f", {training.head}"
    return f"{NETWORKS.get(name, name)} with {training.width} filters{chosen}{head}"


def further_settings(training: Training) -> str:
    """Sentences on settings that most experiments leave at their default; "" if all are.

    Example:
        >>> further_settings(Training()), further_settings(Training(warm_up=100))
        ('', ' Warm up: 100.')
    """
    default, values = Training(), training.model_dump(mode="json", exclude_defaults=True)
    names = [
        key for key in YOUNGER if key not in ("network", "head") and getattr(training, key) != getattr(default, key)
    ]
    return "".join(f" {key.replace('_', ' ').capitalize()}: {values[key]}." for key in names)
