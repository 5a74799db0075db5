"""Backups through each driver to a server on this machine, beside its SDK's plain uploads."""
