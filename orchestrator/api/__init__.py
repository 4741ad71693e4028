"""One function for each verb of `knockout`.

It takes a request or a campaign file, returns values, and prints nothing. It must never know a terminal or a browser.
"""
