"""What is done with messages beside routing: retained, delayed, rewritten, subscribed to by the server, measured."""
