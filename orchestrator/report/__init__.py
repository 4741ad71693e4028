"""Words, tables, figures and pages of what was concluded. It concludes nothing."""
