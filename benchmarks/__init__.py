"""What rtsep is measured by: each module writes figures to `results/`, and none of them is a test."""
