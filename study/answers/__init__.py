"""What a tuned study answers with: retrained models, predictions, intervals, lists, scores."""
