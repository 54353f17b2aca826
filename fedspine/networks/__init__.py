"""Plain `nn.Module`s, MONAI's where MONAI has them, GroupNorm throughout."""
