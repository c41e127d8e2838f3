"""Item frames and neuron tables -> estimates with intervals. Pure functions of data frames."""
