"""What is computed: networks, compression, and the exact integer program."""
