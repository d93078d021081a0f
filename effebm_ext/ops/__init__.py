"""The ops, one file each: wrapper, fake kernel and plain-PyTorch reference."""
