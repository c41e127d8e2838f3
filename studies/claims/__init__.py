"""The paper's claims, held against the evidence of a study."""
