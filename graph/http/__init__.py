"""GraphQL over HTTP: requests in, answers out, and what uvicorn does not bound by itself."""
