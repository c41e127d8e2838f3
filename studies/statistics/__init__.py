"""Item tables -> estimates with intervals. Pure functions of data frames."""
