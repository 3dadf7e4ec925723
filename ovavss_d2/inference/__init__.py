"""From a source to results: windows merged, masks carried along, files written."""
