"""The store over HTTP: the client's side of the server's API."""
