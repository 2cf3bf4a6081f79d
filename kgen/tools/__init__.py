"""What works on specs and generated modules beside the build: show, verify, and what both are given."""
