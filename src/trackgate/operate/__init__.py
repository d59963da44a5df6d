"""What operators do: the same operations from the command line, the control socket and HTTP."""
