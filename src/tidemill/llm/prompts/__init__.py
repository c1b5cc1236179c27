"""The prompts, one module for each task, each with a version that is stored with every inference. Pure text."""
