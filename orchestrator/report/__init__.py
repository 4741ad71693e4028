"""What a report shows: words, tables, figures and pages.

It reads the findings that `verdicts.findings` worked out, and lays them out for readers. It must never draw a
conclusion of its own, and it knows no command and no terminal.
"""
