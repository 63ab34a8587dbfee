"""Semi-supervised segmentation methods, one file each; `method.py` is the interface they share."""
