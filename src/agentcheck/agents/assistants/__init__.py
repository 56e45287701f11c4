"""The shipped domain assistants: rules instead of a model, on the extractive agent; they act only through a session."""
