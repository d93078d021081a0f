"""Random calls of the ops: what python_tests/fuzz_ops.py makes."""
