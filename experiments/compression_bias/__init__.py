"""Which law compressed chains sample, what is learned from it, and what corrects it."""
