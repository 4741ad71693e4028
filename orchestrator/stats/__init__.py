"""The statistics: arrays in, estimates out.

It pairs the outcomes of two sides, estimates a difference with its error, corrects for many tests, and plans interim
looks. It must never know a campaign, an experiment's configuration or a run folder, and it opens no file.
"""
