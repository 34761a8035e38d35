"""What travels between peers: ids, jobs, outcomes, errors, packing, blobs, tokens, AMP commands."""
