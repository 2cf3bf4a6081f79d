"""Ahead-of-time compilation without a GPU, and its report."""
