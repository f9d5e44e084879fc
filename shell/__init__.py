"""What every program of the project shares: how it reads its flags, ends and writes files."""

VERSION = "1.3.0"  # of the project; CHANGELOG.md says what is new in it
