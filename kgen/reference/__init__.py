"""The independent reference: a spec in, plain torch out. It shares with the compiler nothing but the spec."""
