"""From graphs to kernels and matrix products: what is computed together, stored, and computed again."""
