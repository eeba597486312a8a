"""How it is built: folding, Verilog text, project packages.  Imports models and hw."""
