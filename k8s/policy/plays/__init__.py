"""Runs that are played, pod by pod, as a cluster would start, watch and stop them."""
