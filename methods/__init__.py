"""Semi-supervised segmentation methods, one file each; `shared/method.py` is their interface."""
