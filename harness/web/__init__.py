"""Web pages and HTTP APIs of the harness: ASGI applications on Starlette, served by uvicorn."""
