"""One function for each verb of `knockout`: it returns values and prints nothing."""
