"""Ways in: TCP, TLS and WebSocket."""
