"""The use-cases: plain async functions that take plain values and give rows.

They import neither GraphQL nor the driver, so a script, a worker or a test can call them as the API does.
What a caller did wrong, or what stands in the way, is raised as an exception of `resolvers.errors`.
"""
