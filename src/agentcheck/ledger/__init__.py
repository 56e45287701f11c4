"""The ledger: canonical bytes, hash chain, group commit, redaction, reading and verification (``docs/ledger.md``)."""
