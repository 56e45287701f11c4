"""Places outside the ledger where signed checkpoints are kept: a folder, Git notes, a witness (`contracts.Anchor`)."""
