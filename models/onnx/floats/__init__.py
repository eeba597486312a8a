"""Float graphs become float networks, layer by layer, for post-training quantisation."""
