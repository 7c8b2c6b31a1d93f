"""What the API takes and gives. Content is null for a token without the scope 'content'."""
