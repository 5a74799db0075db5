"""What callers may ask: each use case checks, changes rows in one transaction, and orders jobs.

backups, records     on stored backups, whose work is done by jobs
volumes, snapshots   at providers, done at once
quotas               what a project may have       target   where a restore goes
"""
