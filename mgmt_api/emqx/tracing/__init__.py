"""What single clients, topics and addresses do, written to files."""
