"""A crystal in arrays: reflections, phases, maps on grids, masks."""
