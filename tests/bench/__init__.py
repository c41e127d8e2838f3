"""Speed against the peers: ratios in one run. Not collected by pytest."""
