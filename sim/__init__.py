"""Whether it is true: kernels, RTL simulation, fuzzing and comparison."""
