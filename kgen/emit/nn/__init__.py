"""nn.Modules as rows for their template."""
