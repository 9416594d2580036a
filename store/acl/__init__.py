"""The decision on topics: rules compiled, laid over each other and explained; no input, no output."""
