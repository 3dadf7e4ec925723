"""Projects that come with Detectron2, as far as this project and its likes use them."""
