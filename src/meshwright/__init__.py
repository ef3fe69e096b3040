"""meshwright: six views of an object become a textured triangle mesh that was checked against them."""

__version__ = "0.1.0"
