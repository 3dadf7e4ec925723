"""Command-line tools; a package, because Detectron2 installs a package of the same name."""
