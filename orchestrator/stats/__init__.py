"""Arrays in, estimates out. It knows no campaign and opens no file."""
