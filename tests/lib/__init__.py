"""What the tests, the demo and their tools share."""
