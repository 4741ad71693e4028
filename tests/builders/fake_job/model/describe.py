"""Answers `queue add`: every configuration can be trained."""

import json
import sys

if __name__ == "__main__":
    json.dump([{"tokens": 1, "parameters": 1} for _ in json.load(sys.stdin)], sys.stdout)
