"""Shows runs: pictures, curves, the report and TensorBoard."""
