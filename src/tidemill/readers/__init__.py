"""What documents say: their clean text, from PDF, DOCX, PPTX, HTML, Markdown, notebooks, CSV, code and plain text.

Files are not trusted: those whose formats are complicated are read in a child process with bounds.

May import store, analysis, settings and core.
"""
