"""How documents are collected, read, searched and answered from."""
