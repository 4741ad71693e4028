"""One run on disk: its folder, order, record, identity and state. It knows no campaign."""
