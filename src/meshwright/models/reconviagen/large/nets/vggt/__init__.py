"""VGGT: many pictures of one thing to features, cameras and points (Wang et al. 2025, arXiv:2503.11651)."""
