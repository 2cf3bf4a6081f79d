"""A spec to start from: a name and a signature in, a commented spec that loads and builds at once out."""

from collections.abc import Sequence

from kgen.spec import names, signature

TEMPLATE = """\
# yaml-language-server: $schema=../kgen.schema.json
kgen: 1  # the version of this format
name: {name}  # the generated package's name: generated/{name}/
doc: {doc}

algebra:
  signature: [{signature}]  # how many generators square to 1, to -1 and to 0; here: {generators}

layout:  # memory orders, slowest axis first
  multivector: [blade, b, n]  # b samples of n features; [..., n, blade] takes any leading axes, blades together
  weights:
    order: [left, out, right]  # product paths are sorted by the grades of x, of the result, of y
    memory: [n, path]

kernels:
  # A name, typed inputs and a body: all that a kernel needs. The module gets {name}.product(x, y) with its
  # derivatives, and {name}.product_reference(x, y), the same in plain torch; `pytest generated` proves it.
  product:
    doc: The geometric product.
    inputs:
      x: multivector
      y: multivector
    body: return x * y  # also x ^ y (outer), x | y (inner), x & y (regressive), ~x (reverse), x.grade(1), x.e1

  layer:
    doc: Gated inputs, weighted geometric product, RMS norm of each grade.
    inputs:
      x: multivector
      y: multivector
      weight: weights(x, y)  # one number per nonzero product path, per feature
    options: {{normalize: true, eps: 1.0e-6}}  # a truth value chooses a compiled variant
    body: |
      gx = gelu(x)
      gy = gelu(y)
      xy = sgp(gx, gy, weight)
      return {norm} if normalize else xy

  action:
    doc: Applies the one versor of each sample to all its vectors, r x ~r.
    inputs:
      r: even[b]  # axes in brackets replace the default ones
      x: grades(1)
    body: return (r >> x).grade(1)

# An nn.Module around a kernel, {name}.Layer(n_features), without the leading `# `:
#
# modules:
#   Layer:
#     kernel: layer
#     sizes: {{n: n_features}}  # the constructor's argument for each axis of a parameter
#     parameters:
#       weight: normal(grade)  # at first of standard deviation 1 / sqrt(grades); also zeros, ones, uniform(n)
"""


def template(name: str, counts: Sequence[int]) -> str:
    """The text of a spec for the algebra with signature [p, q, r]; KgenError when the name or the signature is none."""
    names.check_module(name)
    squares, first = signature.generators(counts)
    definite = 0 not in squares and len(set(squares)) == 1
    return TEMPLATE.format(
        name=name,
        doc=f"Cl({','.join(str(count) for count in counts)}).",
        signature=", ".join(str(count) for count in counts),
        generators=", ".join(f"e{first + i}² = {square}" for i, square in enumerate(squares)),
        norm="grade_rms_norm(xy, eps=eps)" if definite else 'grade_rms_norm(xy, eps=eps, metric="invariant")',
    )
