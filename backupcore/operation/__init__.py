"""The verbs: backup, restore, verify, delete. Each moves chunks between a volume and a store."""
