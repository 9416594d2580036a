"""What single clients, topics and addresses do, written to files for whoever looks for a fault."""
