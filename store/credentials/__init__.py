"""Secrets: how they are kept, checked and limited, and what an import makes of other programs' hashes."""
