"""The folder of generated files: the only code that writes there."""
