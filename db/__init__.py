"""The data floor: the only place that imports psycopg and aiodataloader.

Here live the pool, the embedded server, the migrations, the row shapes, the loaders and one file of SQL per
noun. Nothing here knows GraphQL or HTTP.
"""
