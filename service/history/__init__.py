"""One chart as it was at any moment of its past: phases of resources, the chart then, what happened in it. Pure."""
