"""From what others publish to model folders of rtsep's: fetched, checked, converted, installed."""
