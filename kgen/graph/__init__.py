"""The component graph, and what can be done with any: derivatives, factoring, zeros, formulas."""
