"""From kernels to the text of a module and of its proof."""
