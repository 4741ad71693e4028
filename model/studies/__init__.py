"""The studies, each with its network, its data and its commands. No study imports another."""
