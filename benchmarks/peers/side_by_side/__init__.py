"""The same job with several libraries: ratings.csv → tuned → answers.csv for the pairs.csv."""
