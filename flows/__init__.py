"""Which steps run, in what order: Prefect flows, deployments and the `pseudodepth` command."""
