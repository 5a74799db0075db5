"""The questions the catalog asks its database and the changes it makes there."""
