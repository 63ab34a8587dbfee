"""Cases of 3D images and labels: where they come from, how they are split, cached, augmented and batched."""
