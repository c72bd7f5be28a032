"""Data, augmentation, losses, the training loop and export."""
