"""What `rtsep bench` measures: each benchmark a module, their results, their history."""
