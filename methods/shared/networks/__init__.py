"""Networks that methods share: the V-Net backbone and discriminators."""
