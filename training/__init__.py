"""What learns from a store: methods, losses, metrics, report."""
