"""What is trained: its configuration, and the only questions that are put to its code. It knows no campaign."""
