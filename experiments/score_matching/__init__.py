"""What finite differences save and cost."""
