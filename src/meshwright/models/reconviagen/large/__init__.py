"""The large networks: published checkpoints that make a whole object out of a few pictures, seen parts and unseen."""
