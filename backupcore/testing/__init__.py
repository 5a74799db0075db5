"""Kits that prove plugins and the tools to break things on purpose; part of the wheel.

driver          the kit for storage drivers: pytest class, and a runner for operators
promise_object  what a driver promises of one object
promise_store   what a driver promises of many
bench           what a promise is, and where it is tried
timing          how long the calls of a driver take
fault           a driver that fails where a test wants it to
volume          the kit for volumes
provider        the kit for volume providers
image           disk images that look like real ones, from a seed
"""
