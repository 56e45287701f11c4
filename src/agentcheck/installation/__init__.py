"""What a user does once: write a first suite (`init`), and ask whether this installation works (`doctor`)."""
