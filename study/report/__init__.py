"""What a study has found, for people: the page, its charts and tables, the note, the summary."""
