"""What a study keeps in its database: names and types, typed views, ranking, seeds, liveness."""
