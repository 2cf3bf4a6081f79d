"""Launchers, operators and public functions as rows for their templates."""
