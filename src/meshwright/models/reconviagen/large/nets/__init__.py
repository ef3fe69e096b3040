"""The networks, one idea a file; their state dicts have the keys of the published checkpoints."""
