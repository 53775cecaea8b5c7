"""The outer floor: the GraphQL API, HTTP, settings and the command line.

The only place that imports strawberry, graphql and starlette.
"""
