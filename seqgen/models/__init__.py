"""Neural network modules: nn.Modules and nothing else."""
