"""What operators see of a running service: whether it is well, its figures, and its log.

door     stands before the API: /healthcheck, /metrics, an id, a line and a count for each request
metrics  figures for Prometheus          log      lines that name the request and no secret
"""
