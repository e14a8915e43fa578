"""A camera's stream, judged as it comes: source → face → score → state → overlay, window, film, JSON, web page."""
