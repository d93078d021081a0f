"""What takes the bias of the step size and of error feedback off chains."""
