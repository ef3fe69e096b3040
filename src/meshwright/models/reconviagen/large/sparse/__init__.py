"""Networks on voxels that are listed one by one: tensors, convolution, pooling, attention and norms.

Plain torch on any device; no other library for sparse tensors is needed.
"""
