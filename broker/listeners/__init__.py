"""Ways in: TCP, TLS, WebSocket and Unix sockets, and what a proxy or a program hands over."""
