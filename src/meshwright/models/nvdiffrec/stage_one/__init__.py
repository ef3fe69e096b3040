"""Stage one: a shape of any topology, materials and light fitted to posed pictures, coarse to fine."""
