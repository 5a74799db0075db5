"""What goes over the wire: bodies, queries and versions in, documents and refusals out.

version   what is spoken     body, schema, query, text   what is asked
view      rows as documents  fault                       refusals
"""
