"""Text that all parts of a module share: headers, constants, docstrings, filled templates, line breaks."""
