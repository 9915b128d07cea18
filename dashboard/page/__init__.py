"""What the page shows, computed from its knobs. Pure, but for the loaders."""
