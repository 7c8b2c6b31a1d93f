"""An HTTP/1.1 client for the request's path: whoever stops waiting closes the connection."""
