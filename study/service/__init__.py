"""A model over HTTP: the application, what it takes and gives, and a page for people."""
