"""What the kernels of a package share: plain Python, the same bytes in every package. Nothing here is for users."""
