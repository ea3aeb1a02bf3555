"""From features to charges: one file per method, none imports another."""
