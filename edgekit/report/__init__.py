"""A finished run for people: HTML, Markdown and terminal tables of one `Report` record."""
