"""Networks that separate, the manifests that describe them, and the registry that finds them."""
