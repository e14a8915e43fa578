"""The steps of one build, one file a step, named in the order data travels."""
