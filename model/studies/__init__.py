"""What is studied: each its network, its data and its commands."""
