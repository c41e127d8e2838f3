"""Material that ships with Halfwave, so that a study needs no download: minimal pairs, knowledge items, prose."""
