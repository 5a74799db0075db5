"""Backups from lists of changed extents: in huge volumes, and over many days."""
