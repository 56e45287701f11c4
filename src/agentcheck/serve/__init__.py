"""What answers over HTTP: a witness (C2SP tlog-witness)."""
