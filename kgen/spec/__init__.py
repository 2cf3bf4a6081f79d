"""Specs: text in, frozen data out, or every mistake with its place."""
