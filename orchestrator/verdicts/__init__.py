"""What a campaign concludes: judgements, staged verdicts, confounds, claims, controls, interactions. Opens no file."""
