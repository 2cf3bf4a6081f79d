"""Launchers and operators as rows for their templates."""
