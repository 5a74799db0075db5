"""The floors above the engine: the catalog with very many rows."""
