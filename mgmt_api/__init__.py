"""The management API: one aiohttp application, one package for each facade, and what the facades share."""
