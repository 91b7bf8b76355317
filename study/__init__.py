"""The study: the search space, the objective, the loop over trials, and the commands."""
