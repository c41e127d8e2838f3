"""Study material that ships with Halfwave and needs no download."""
