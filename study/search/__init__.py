"""What is tried: the sampler's proposals, the objective, and when a trial is stopped early."""
