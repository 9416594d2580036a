"""What outlives the process: sessions, what they are owed, retained messages and wills, in the order of commits."""
