"""The project `desk` is started by tests in a folder of its own; here it is no suite to run."""

collect_ignore = ["desk"]
