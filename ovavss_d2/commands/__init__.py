"""The commands `ovavss-train`, `ovavss-demo` and `ovavss-app`; the scripts of a clone call them."""
