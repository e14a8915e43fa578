"""Photographs re-rendered in 3-D as live pictures and simulated presentation attacks, with their exact depth."""
