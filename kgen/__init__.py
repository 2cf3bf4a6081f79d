"""kgen compiles YAML specs of geometric-algebra operations into standalone, differentiable Triton modules."""

__version__ = "0.1.0"
