"""From a kernel's body to its component graph."""
