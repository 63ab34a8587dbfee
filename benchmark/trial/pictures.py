"""Pictures of a trial: what it predicts for one labelled training case as it goes on, and for test cases at its end.

Slices are upright and masks have the colours of the report.
"""

import numpy as np
import torch
from scipy import ndimage

from benchmark.records.protocol import Training
from benchmark.trial.inference import fold_batch_norm, label_map, predict_volume
from data.augment import AUGMENTATIONS
from data.cache import Dataset
from methods.shared.method import Method
from methods.shared.step_log import LoggedImage

TIMES = 4  # a picture after each of so many parts of a training, and one before it
TRUTH, PREDICTION = (230, 159, 0), (86, 180, 233)  # orange and blue, as in the report
SMALLEST = 400  # pixels of a slice's longer side: TensorBoard shows pictures as large as they are


def picture_steps(iterations: int) -> set[int]:
    """After how many steps a training has pictures.

    Example:
        >>> sorted(picture_steps(6000))
        [0, 1500, 3000, 4500, 6000]
    """
    return {round(part * iterations / TIMES) for part in range(TIMES + 1)}


class TrainingCase:
    """One patch of a labelled training case, around the largest slice of its label.

    Args:
        dataset: of the trial.
        case_id: a case whose label the trial may open.
        training: the protocol. In 2D the patch is one slice, or a part of it.
    """

    def __init__(self, dataset: Dataset, case_id: str, training: Training):
        label = dataset.label(case_id)
        self._classes = dataset.classes
        self._training, self._resizes = training, AUGMENTATIONS[training.augmentation].resizes
        depth = int((label > 0).sum((0, 1)).argmax())
        inside = np.argwhere(label[..., depth] > 0)
        middle = inside.mean(0) if len(inside) else np.array(label.shape[:2]) / 2
        patch = (*(label.shape[:2] if self._resizes else training.patch[:2]), (*training.patch, 1)[2])
        starts = [
            int(np.clip(centre - size / 2, 0, max(voxels - size, 0)))
            for centre, size, voxels in zip((*middle, depth), patch, label.shape, strict=True)
        ]
        area = tuple(slice(start, start + size) for start, size in zip(starts, patch, strict=True))
        self.image, self.label = (np.array(array[area]) for array in (dataset.image(case_id), label))

    def picture(self, method: Method) -> np.ndarray:
        """The plain slice, and beside it the outlines of label and prediction: (H, W, 3), uint8.

        Neither the method nor random numbers nor flags of torch change.
        """
        device, folded = next(method.parameters()).device, fold_batch_norm(method)
        benchmark = torch.backends.cudnn.benchmark
        # Else cuDNN would compare its kernels for a batch of one, which takes long.
        torch.backends.cudnn.benchmark = False
        patch = self._training.patch
        try:
            with torch.random.fork_rng([device] if device.type == "cuda" else []):
                probabilities = predict_volume(
                    folded.predict, self.image, self._classes, patch, patch, 1, device, resizes=self._resizes
                )
        finally:
            torch.backends.cudnn.benchmark = benchmark
        predicted = label_map(probabilities, self.label.shape, self._training.head)
        return largest_slice(self.image, self.label, predicted)


def largest_slice(image: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The axial slice with most of the truth, and beside it the same with both outlines. Arrays are (H, W, D).

    Of an image with several channels, (H, W, D, M), the first one is shown.
    """
    depth = int((truth > 0).sum((0, 1)).argmax())
    image = image[..., 0] if image.ndim > 3 else image
    image, truth, predicted = (array[..., depth].T for array in (image, truth, predicted))  # upright, as in the report
    return np.hstack([grey(image), outlined(image, truth, predicted)])


def map_picture(logged: LoggedImage) -> np.ndarray:
    """The axial slice in which a map varies most: the patch, and beside it the map from its lowest to highest value."""
    volume, image = (array[0].float().cpu().numpy() for array in (logged.volume, logged.image))
    if volume.ndim == 2:
        volume, image = volume[..., None], image[..., None]
    depth = int(volume.std((0, 1)).argmax())
    return np.hstack([grey(image[..., depth].T), grey(volume[..., depth].T)])


def outlined(image: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """A slice (H,W) as RGB (kH,kW,3) uint8, k times enlarged, with the inner borders of both masks of any class."""
    picture = grey(image)
    for mask, colour in ((_enlarged(truth) > 0, TRUTH), (_enlarged(predicted) > 0, PREDICTION)):
        picture[mask & ~ndimage.binary_erosion(mask)] = colour
    return picture


def grey(image: np.ndarray) -> np.ndarray:
    """A slice (H,W) as RGB (kH,kW,3) uint8, k times enlarged."""
    low, high = np.percentile(image, (0.5, 99.5))
    values = np.clip((_enlarged(image) - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
    return np.repeat(values[..., None], 3, axis=2)


def _enlarged(image: np.ndarray) -> np.ndarray:
    times = -(-SMALLEST // max(image.shape))
    return image.repeat(times, 0).repeat(times, 1)
