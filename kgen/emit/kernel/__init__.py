"""A kernel as rows for its template."""
