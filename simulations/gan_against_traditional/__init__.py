"""GAN augmentation against ordinary augmentation, on equal terms; see `__main__`."""
