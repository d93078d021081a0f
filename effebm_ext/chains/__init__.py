"""Chains that live as long as a training run: persistent, in a replay buffer, or weighted."""
