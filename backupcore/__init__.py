"""Backup engine for block volumes."""
