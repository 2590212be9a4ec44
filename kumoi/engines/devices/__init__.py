"""Devices of this machine: what there is, and whether it is fit to work."""
