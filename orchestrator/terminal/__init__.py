"""What the command shows on a terminal, through rich: plans, a running study, reports."""
