"""Read the users and rules of other brokers from their files, and bring them into the directory."""
