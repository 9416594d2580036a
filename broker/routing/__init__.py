"""Topics, the subscription index and the retained messages: pure data structures without I/O or clock."""
