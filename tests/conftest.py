"""Makes this folder importable, so that tests find ``kits`` and ``fakes`` wherever pytest is started."""
